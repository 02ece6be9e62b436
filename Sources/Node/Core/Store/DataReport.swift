public import CRDT
import Gossip

/// What a data directory holds, for people: every record of every file is read and checked, nothing is changed.
public struct DataReport: Sendable {
    /// What one file holds.
    public struct File: Sendable {
        /// Which one.
        public let file: DataFile
        /// Its length in bytes.
        public let size: UInt64
        /// Records that are whole.
        public var records = 0
        /// Entries of logs among them.
        public var entries = 0
        /// What is wrong with it, and where; nil for nothing.
        public var problem: String?
        /// What is worth knowing, but not wrong: a torn tail that was never acknowledged, for example.
        public var note: String?
    }

    /// All files, in order.
    public var files: [File] = []
    /// The log that the node writes; nil in an empty directory.
    public var replica: ReplicaID?
    /// How often it was started.
    public var epoch: UInt64 = 0
    /// The cluster's name.
    public var cluster = ""
    /// How far each log is there.
    public var logs: [(replica: ReplicaID, head: UInt64)] = []
    /// SEMP events held.
    public var events = 0
    /// Documents that exist.
    public var documents = 0
    /// Signals known.
    public var signals = 0
    /// In one sentence each, what a node started on this would find damaged or missing; empty if all is whole.
    public var damage: [String] = []

    /// Reads a directory that nobody else is changing, or a copy of one.
    public static func of(_ directory: inout some DataDirectory) throws(StoreError) -> DataReport {
        var report = DataReport()
        for file in try directory.files() { report.files.append(try look(at: file, &directory, &report.cluster)) }
        guard !report.files.isEmpty else { return report }
        let moment = Instant(microseconds: 0)
        var opening = NodeCore.Opening(freshReplica: ReplicaID(1))
        opening.acceptsLoss = true
        let settings = NodeSettings(
            name: "", replica: ReplicaID(1), advertise: Address(ipv4: 0, port: 0), cluster: report.cluster)
        var recovery = try Recovery(
            settings, &directory, opening, wallMs: 0, now: moment, dice: Dice(seed: (0, 0, 0, 0)))
        try recovery.read(&directory) { _, _ in }
        report.replica = recovery.core.replica
        report.epoch = recovery.epoch
        let log = recovery.core.cluster.log
        report.logs = log.heads.entries.map { ($0.replica, $0.sequence) }
        report.events = recovery.core.index.eventCount
        report.documents = recovery.core.documents.count
        report.signals = recovery.core.signals.count
        report.damage = recovery.damage
        if recovery.isLossy, report.damage.isEmpty {
            report.damage.append("an earlier start found damage, and what was lost then is still missing")
        }
        for (file, note) in recovery.notes {
            guard let at = report.files.firstIndex(where: { $0.file == file }) else { continue }
            report.files[at].note = note
            if file.kind == .segment { report.files[at].problem = nil }
        }
        return report
    }

    private static func look(
        at file: DataFile, _ directory: inout some DataDirectory, _ cluster: inout String
    ) throws(StoreError) -> File {
        var found = File(file: file, size: try directory.size(of: file))
        var reader = RecordReader(file, size: found.size)
        if try reader.preamble(&directory) == .damaged { found.problem = "its beginning cannot be read" }
        while true {
            switch try reader.next(&directory) {
            case .end: return found
            case .damage(let at, let bytes):
                found.problem = found.problem ?? "\(bytes) bytes from offset \(at) on are not what was written"
            case .record(let kind, let body):
                found.records += 1
                if kind == .entry { found.entries += 1 }
                guard kind == .head else { continue }
                let window = reader.window
                var cursor = ByteCursor(reader.place(body))
                if let head = try? SegmentHead(&cursor, window.span.bytes) { cluster = head.cluster }
            }
            reader.release()
        }
    }
}
