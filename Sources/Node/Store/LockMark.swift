internal import CRDT

/// The line in the file `lock` of a data directory: what the directory is for, and which file the line was written into,
/// so that a copy gives itself away.
///
/// A second line names the process that holds the lock; it is for people, and not under the checksum.
struct LockMark: Equatable {
    /// What a directory is for.
    enum State: String, CaseIterable {
        /// A node's own.
        case live
        /// A node's own from its next start on, under a new id: it was restored.
        case renew
        /// A backup: to be restored, not to be run.
        case backup
        /// A copy into it is not finished.
        case copying
    }

    /// What cannot be read from a lock file.
    enum Unreadable: Error, Equatable {
        /// It is not what was written.
        case damaged
        /// It was written by a newer version of Hypha, which keeps its data in this format.
        case newer(format: Int)
    }

    /// The layout of data directories that this version writes and reads.
    static let format = 1

    /// What the directory is for.
    var state: State
    /// The lock file's own number in its file system.
    var inode: UInt64
    /// When the lock file was made, in nanoseconds since 1970; 0 where the file system does not tell.
    var born: UInt64

    /// Whether it was written into the file with this number and birth. Numbers are used again, so both have to fit.
    func fits(inode: UInt64, born: UInt64) -> Bool {
        self.inode == inode && (self.born == born || self.born == 0 || born == 0)
    }

    /// The whole file.
    func text(pid: Int32) -> [UInt8] {
        let marks = "hypha-data format=\(Self.format) state=\(state.rawValue) inode=\(inode) born=\(born)"
        return Array("\(marks) check=\(Self.check(marks))\npid=\(pid)\n".utf8)
    }

    /// Reads a whole file back.
    init(_ bytes: [UInt8]) throws(Unreadable) {
        guard let line = bytes.split(separator: 0x0a, maxSplits: 1, omittingEmptySubsequences: false).first,
            bytes.count > line.count, let text = String(validating: line, as: UTF8.self)
        else { throw .damaged }
        let words = text.split(separator: " ", omittingEmptySubsequences: false)
        // Whatever a newer version writes, its first two words and the last one are these.
        guard words.count >= 3, words[0] == "hypha-data",
            let format = Self.value(words[1], "format").flatMap({ Int($0) }),
            let check = Self.value(words[words.count - 1], "check"),
            check == Self.check(words.dropLast().joined(separator: " "))
        else { throw .damaged }
        guard format <= Self.format else { throw .newer(format: format) }
        guard words.count == 6, let state = Self.value(words[2], "state").flatMap({ State(rawValue: String($0)) }),
            let inode = Self.value(words[3], "inode").flatMap({ UInt64($0) }),
            let born = Self.value(words[4], "born").flatMap({ UInt64($0) })
        else { throw .damaged }
        self.init(state: state, inode: inode, born: born)
    }

    init(state: State, inode: UInt64, born: UInt64) {
        self.state = state
        self.inode = inode
        self.born = born
    }

    /// The process that a lock file names; nil if it names none.
    static func pid(in bytes: [UInt8]) -> Int32? {
        let lines = bytes.split(separator: 0x0a).map { String(decoding: $0, as: UTF8.self) }
        return lines.count == 2 ? value(lines[1][...], "pid").flatMap { Int32($0) } : nil
    }

    private static func value(_ word: Substring, _ name: String) -> Substring? {
        word.hasPrefix("\(name)=") ? word.dropFirst(name.utf8.count + 1) : nil
    }

    /// The checksum of what stands before it.
    static func check(_ text: String) -> String {
        let digits = String(XXH64.hash(Array(text.utf8).span.bytes), radix: 16)
        return String(repeating: "0", count: 16 - digits.utf8.count) + digits
    }
}
