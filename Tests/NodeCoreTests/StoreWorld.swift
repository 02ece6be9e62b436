import CRDT
import Gossip
import Testing

@testable import NodeCore

/// A data directory in memory.
struct MemoryDirectory: DataDirectory {
    var contents: [DataFile: [UInt8]] = [:]
    var quarantined: Set<DataFile> = []

    mutating func files() -> [DataFile] { contents.keys.sorted() }
    mutating func size(of file: DataFile) -> UInt64 { UInt64(contents[file]?.count ?? 0) }
    mutating func read(_ file: DataFile, from offset: UInt64, count: Int) -> [UInt8] {
        Array((contents[file] ?? []).dropFirst(Int(offset)).prefix(count))
    }
    mutating func quarantine(_ file: DataFile) { quarantined.insert(file) }
}

/// One durable node without peers, and its disk.
struct StoreWorld {
    var directory = MemoryDirectory()
    var core: NodeCore
    var now = Instant(milliseconds: 1_000)
    /// Jobs that the disk was given and has not done.
    var jobs: [DiskJob] = []
    /// Commits that the disk did.
    var commits = 0
    /// The disk does what it is asked at once.
    var isPrompt = true
    /// The disk has no room for commits.
    var isFull = false
    var replies: [(request: UInt64, status: UInt16, text: String)] = []
    /// What was sent to sessions.
    var sent: [(session: UInt64, text: String)] = []
    var lines: [String] = []
    var kinds: [String] = []
    private var unfinished: [UInt64: [UInt8]] = [:]
    private var starts: UInt64 = 0
    private var requests: UInt64 = 0
    var settings: NodeSettings

    static let wallMs: UInt64 = 1_740_000_030_123

    init(segmentBytes: Int? = nil, seeds: [Address] = [], retention: FactLog.Retention = .init()) throws {
        settings = NodeSettings(
            name: "n", replica: ReplicaID(1), advertise: Address(ipv4: 0x7f00_0001, port: 7946), seeds: seeds,
            replication: .init(retention: retention))
        settings.segmentBytes = segmentBytes
        core = try Self.open(settings, &directory, 0, now)
        give(.tick)
        give(.turnEnded)
    }

    private static func open(
        _ settings: NodeSettings, _ directory: inout MemoryDirectory, _ starts: UInt64, _ now: Instant,
        _ change: (inout NodeCore.Opening) -> Void = { _ in }
    ) throws -> NodeCore {
        var opening = NodeCore.Opening(freshReplica: ReplicaID(0xb0 + starts))
        change(&opening)
        return try NodeCore.open(
            settings, &directory, opening, wallMilliseconds: wallMs + now.milliseconds, now: now,
            dice: Dice(seed: starts + 1)
        ) { _, _ in }
    }

    /// The process ends, and another is started on what the disk has.
    mutating func restart(_ change: (inout NodeCore.Opening) -> Void = { _ in }) throws {
        starts += 1
        jobs.removeAll()
        unfinished.removeAll()
        now = now.advanced(milliseconds: 500)
        core = try Self.open(settings, &directory, starts, now, change)
        isPrompt = true
        give(.tick)
        give(.turnEnded)
    }

    // MARK: - Inputs

    mutating func give(_ input: NodeCore.Input, _ body: String = "") {
        var effects = NodeCore.Effects()
        let bytes = Array(body.utf8)
        core.handle(input, bytes.span.bytes, now: now, into: &effects)
        for effect in effects.list {
            switch effect {
            case .reply(let id, let reply, let range):
                replies.append((id.rawValue, reply.status, String(decoding: effects.bytes[range], as: UTF8.self)))
            case .send(let session, let range):
                sent.append((session.rawValue, String(decoding: effects.bytes[range], as: UTF8.self)))
            case .log(_, let text): lines.append(text)
            case .disk(let job): jobs.append(job)
            default: kinds.append("\(effect)".prefix { $0 != "(" }.description)
            }
        }
        while isPrompt, !jobs.isEmpty { work() }
    }

    /// The disk does one job.
    mutating func work() {
        guard !jobs.isEmpty else { return }
        switch jobs.removeFirst() {
        case .commit(let bytes):
            guard !isFull else { return give(.disk(.full)) }
            let newest = directory.contents.keys.filter { $0.kind == .segment }.max()!
            directory.contents[newest]! += bytes
            commits += 1
            give(.disk(.committed(hasRoom: true)))
        case .segment(let number, let bytes):
            guard !isFull else { return give(.disk(.full)) }
            directory.contents[.segment(number)] = bytes
            commits += 1
            give(.disk(.committed(hasRoom: true)))
        case .findRoom: give(.disk(.room(!isFull)))
        case .snapshot(let number, let bytes): unfinished[number, default: []] += bytes
        case .finishSnapshot(let number):
            directory.contents[.snapshot(number)] = unfinished.removeValue(forKey: number)
            give(.disk(.snapshotSaved(number)))
        case .dropSnapshot(let number): unfinished[number] = nil
        case .remove(let files): for file in files { directory.contents[file] = nil }
        }
    }

    /// Time passes, in turns of so many milliseconds.
    mutating func pass(milliseconds: UInt64, step: UInt64 = 1) {
        for _ in 0..<milliseconds / step {
            now = now.advanced(milliseconds: step)
            give(.tick)
            give(.turnEnded)
        }
    }

    /// Gives a request and ends the turn; the reply, if there is one by then.
    @discardableResult
    mutating func ask(_ request: Request, _ body: String = "", ack: AckLevel = .local) -> (
        status: UInt16, text: String
    )? {
        requests += 1
        let id = requests
        give(.request(RequestID(id), request, ack: ack), body)
        give(.turnEnded)
        return replies.last { $0.request == id }.map { ($0.status, $0.text) }
    }

    @discardableResult
    mutating func post(_ number: Int, _ type: String = "proposal", filler: Int = 0) -> UInt16? {
        ask(.postEvent, Self.event(number, type, filler: filler))?.status
    }

    static func event(_ number: Int, _ type: String = "proposal", filler: Int = 0) -> String {
        let digits = String(number, radix: 16)
        let id = "00000000-0000-4000-8000-" + String(repeating: "0", count: 12 - digits.utf8.count) + digits
        let text = String(repeating: "x", count: filler)
        return "{\"id\":\"\(id)\",\"type\":\"\(type)\",\"scope\":\"ui\",\"trace_id\":\"t\",\"agent_id\":\"a\","
            + "\"payload\":{\"action\":\"p\(number % 7)\",\"value\":0.1,\"text\":\"\(text)\"}}"
    }

    /// All that a client can read.
    mutating func everything() -> [String] {
        let at = Self.wallMs + 3_600_000
        return [
            Request.events(.init(limit: 100_000)), .nodes(limit: 1_000),
            .signals(scope: nil, pattern: nil, minimumStrength: nil, at: at),
        ].map { ask($0)?.text ?? "nothing" }
    }
}
