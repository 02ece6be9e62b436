/// What a durable node wants done to its data directory. Jobs are carried out one after the other, in order.
public enum DiskJob: Sendable {
    /// Append these bytes to the newest segment and sync them. Answered by `committed`, or by `full`: then nothing of
    /// them may be left in the file.
    case commit([UInt8])
    /// Make the segment of this number with these bytes, sync it and its directory; later commits go there. Answered by
    /// `committed`, or by `full`: then there is no such file.
    case segment(UInt64, [UInt8])
    /// Ask whether there is room again; answered by `room`.
    case findRoom
    /// Append these bytes to the snapshot of this number, which is under way beside the finished ones. No answer.
    case snapshot(UInt64, [UInt8])
    /// Sync the snapshot that is under way and put it beside the finished ones under its name, whole or not at all.
    /// Answered by `snapshotSaved`, or by `snapshotLost`: if anything of it could not be written, nothing of it is left.
    case finishSnapshot(UInt64)
    /// Forget the snapshot that is under way. No answer.
    case dropSnapshot(UInt64)
    /// Remove these files. No answer: what is still there will be asked for again after the next start.
    case remove([DataFile])
}

/// What became of a `DiskJob`.
public enum DiskResult: Sendable {
    /// The oldest unanswered `commit` or `segment` is on the disk. `hasRoom` is false once the disk is so full that the
    /// next commits still fit, and those after them may not.
    case committed(hasRoom: Bool)
    /// The oldest unanswered `commit` or `segment` found no room; it will be asked for again.
    case full
    /// Whether there is room for more.
    case room(Bool)
    /// The snapshot of this number is on the disk, whole.
    case snapshotSaved(UInt64)
    /// The snapshot of this number could not be written, for this reason; the finished ones are as they were.
    case snapshotLost(UInt64, String)
    /// The disk failed, in these words: what it holds is not known any more, so nothing that depends on it may leave.
    /// The shell ends the process with this reason.
    case failed(String)
}

/// A data directory, as it is read at the start: before the node runs, and by nobody else.
public protocol DataDirectory {
    /// Its finished files, in order.
    mutating func files() throws(StoreError) -> [DataFile]
    /// How long a file is, in bytes.
    mutating func size(of file: DataFile) throws(StoreError) -> UInt64
    /// At most `count` bytes of a file from an offset on; fewer only at its end.
    mutating func read(_ file: DataFile, from offset: UInt64, count: Int) throws(StoreError) -> [UInt8]
    /// Keeps a damaged file's bytes aside, for people, and leaves the file where it is. Done twice it is done once.
    mutating func quarantine(_ file: DataFile) throws(StoreError)
}

/// Why a data directory cannot be used: what is wrong and what to do about it.
public struct StoreError: Error, Equatable, Sendable, CustomStringConvertible {
    /// The kinds of reasons, for whoever has to tell them apart.
    public enum Cause: Equatable, Sendable {
        /// The system refused to list or read something.
        case unreadable
        /// A file was written by a newer version of Hypha.
        case newerFormat
        /// The data belong to a cluster of another name.
        case otherCluster
        /// Something is missing or damaged, and no peer is known that could have it.
        case damaged
    }

    /// The kind.
    public let cause: Cause
    /// What is wrong, and what to do.
    public let message: String

    /// A reason from its parts.
    public init(_ cause: Cause, _ message: String) {
        self.cause = cause
        self.message = message
    }

    /// What is wrong, and what to do.
    public var description: String { message }
}
