internal import CEpoll
internal import Glibc
internal import NodeCore

/// A data directory that this process, and no other, writes to, as long as this lives.
final class DirectoryLock {
    /// As the user wrote it.
    let path: String
    /// The directory itself, open.
    let directory: Int32
    private let file: Int32
    private var mark: LockMark
    /// What was found wrong and put right, in one sentence each.
    let warnings: [String]

    /// The node has to go on under a new id: the directory was restored, or it cannot be told whether it is a copy.
    var renews: Bool { mark.state == .renew }

    private static let name = "lock"

    /// Makes the directory if there is none, locks it, and removes what an earlier process left unfinished.
    init(_ path: String) throws(Problem) {
        self.path = path
        try DirectoryPath.make(path)
        let directory = try DirectoryPath.open(path)
        var file: Int32 = -1
        do throws(Problem) {
            try Self.checkAccess(directory, path)
            file = openat(directory, Self.name, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
            guard file >= 0 else { throw DirectoryPath.refusal("open", "\(path)/\(Self.name)", errno) }
            try Self.lock(file, directory, path)
            let names = try DirectoryPath.names(directory, path)
            let found = try Self.read(file, path)
            (mark, warnings) = try Self.judge(found, file, path, hasData: names.contains { DataFile(name: $0) != nil })
            for name in names where name.hasSuffix(".tmp") { unlinkat(directory, name, 0) }
        } catch {
            if file >= 0 { close(file) }
            close(directory)
            throw error
        }
        (self.directory, self.file) = (directory, file)
        try write(synced: true)
    }

    deinit {
        close(file)
        close(directory)
    }

    /// The new id of a restored directory is on the disk: from now on it is a directory like any other. Not synced: if
    /// the power fails before it is on the disk, the next start takes a new id once more.
    func wasRenewed() throws(Problem) {
        guard mark.state == .renew else { return }
        mark.state = .live
        try write(synced: false)
    }

    /// Marks a directory that holds copied files; nobody else may be using it.
    static func mark(_ directory: Int32, _ path: String, _ state: LockMark.State) throws(Problem) {
        let file = openat(directory, name, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard file >= 0 else { throw DirectoryPath.refusal("make", "\(path)/\(name)", errno) }
        defer { close(file) }
        try write(LockMark(state: state, file: file), pid: 0, file, path)
        guard fsync(file) == 0, fsync(directory) == 0 else {
            throw DirectoryPath.refusal("sync", "\(path)/\(name)", errno)
        }
    }

    /// Removes the lock file of a directory that nobody uses.
    static func unmark(_ directory: Int32) { unlinkat(directory, name, 0) }

    /// What the lock file says, without locking; nil if there is none, or it cannot be read.
    static func state(_ directory: Int32) -> LockMark.State? {
        let file = openat(directory, name, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { return nil }
        defer { close(file) }
        return (try? read(file, "")).flatMap { try? LockMark($0) }?.state
    }

    // MARK: -

    private static func checkAccess(_ directory: Int32, _ path: String) throws(Problem) {
        guard faccessat(directory, ".", R_OK | W_OK | X_OK, 0) != 0 else { return }
        throw DirectoryPath.refusal("write to", path, errno)
    }

    private static func lock(_ file: Int32, _ directory: Int32, _ path: String) throws(Problem) {
        // The directory too: somebody may have removed the file while a node runs.
        for descriptor in [file, directory] {
            while flock(descriptor, LOCK_EX | LOCK_NB) != 0 {
                if errno == EINTR { continue }
                if errno == EWOULDBLOCK {
                    let holder = LockMark.pid(in: (try? read(file, path)) ?? []).map { "process \($0)" }
                    throw Problem(
                        reason: "the data directory \(path) is in use by \(holder ?? "another process"); stop that one "
                            + "first, or name another directory with --data")
                }
                if descriptor == directory { break }  // some network file systems lock files only
                throw DirectoryPath.refusal("lock", "\(path)/\(name)", errno)
            }
        }
    }

    private static func read(_ file: Int32, _ path: String) throws(Problem) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: 4_096)
        let count = bytes.withUnsafeMutableBytes { pread(file, $0.baseAddress, $0.count, 0) }
        guard count >= 0 else { throw DirectoryPath.refusal("read", "\(path)/\(name)", errno) }
        return Array(bytes[..<count])
    }

    /// Decides what the lock file's text means for a node that is to run here.
    private static func judge(
        _ text: [UInt8], _ file: Int32, _ path: String, hasData: Bool
    ) throws(Problem) -> (LockMark, [String]) {
        let fresh = LockMark(state: .live, file: file)
        if text.isEmpty, !hasData { return (fresh, []) }
        let mark: LockMark
        do throws(LockMark.Unreadable) {
            mark = try LockMark(text)
        } catch {
            switch error {
            case .newer(let format):
                throw Problem(
                    reason: "\(path) was written by a newer version of Hypha (format \(format); this version knows "
                        + "\(LockMark.format)); run that version, or name another directory with --data")
            case .damaged:
                let what = text.isEmpty ? "is missing" : "is damaged"
                let written = "\(path)/\(name) \(what) and was written anew"
                if !hasData { return (fresh, [written]) }
                // Without it nobody knows whether another node writes this log too: a new id is right in any case.
                let renewed = LockMark(state: .renew, inode: fresh.inode, born: fresh.born)
                return (renewed, [written + "; as the directory may be a copy, the node goes on under a new id"])
            }
        }
        switch mark.state {
        case .live, .renew:
            if mark.fits(inode: fresh.inode, born: fresh.born) { return (mark, []) }
            throw Problem(
                reason: "\(path) is a copy of a data directory, and two nodes must never write one log; make a node's "
                    + "directory of it, with an id of its own:\n  \(restoreCommand(path))")
        case .backup:
            throw Problem(
                reason: "\(path) is a backup, which no node may change; make a node's directory of it:\n"
                    + "  \(restoreCommand(path))")
        case .copying:
            throw Problem(
                reason: "a copy into \(path) was never finished; remove it, and copy again:\n"
                    + "  rm -r \(shellQuoted(path))")
        }
    }

    private static func restoreCommand(_ path: String) -> String {
        let bare = path.count > 1 && path.hasSuffix("/") ? String(path.dropLast()) : path
        return "\(programName) data restore \(shellQuoted(bare)) \(shellQuoted(bare + "-restored"))"
    }

    private func write(synced: Bool) throws(Problem) {
        try Self.write(mark, pid: getpid(), file, path)
        guard synced else { return }
        if fsync(file) != 0 || fsync(directory) != 0 {
            throw DirectoryPath.refusal("sync", "\(path)/\(Self.name)", errno)
        }
    }

    private static func write(_ mark: LockMark, pid: Int32, _ file: Int32, _ path: String) throws(Problem) {
        let text = mark.text(pid: pid)
        let count = text.withUnsafeBytes { pwrite(file, $0.baseAddress, $0.count, 0) }
        guard count == text.count, ftruncate(file, off_t(count)) == 0 else {
            throw DirectoryPath.refusal("write", "\(path)/\(name)", count < 0 ? errno : ENOSPC)
        }
    }
}

extension LockMark {
    /// The mark of this very file.
    fileprivate init(state: State, file: Int32) {
        var about = stat()
        precondition(fstat(file, &about) == 0, "fstat of an open file failed: \(systemMessage(errno))")
        self.init(state: state, inode: UInt64(about.st_ino), born: cepoll_birth(file))
    }
}

/// Directories by their path, with errors that say what to do.
enum DirectoryPath {
    /// Makes a directory and those above it that are missing, for this user only. One that is there stays as it is.
    static func make(_ path: String) throws(Problem) {
        var about = stat()
        if stat(path, &about) == 0 { return }
        let parts = path.split(separator: "/")
        for count in 1...max(1, parts.count) {
            let part = (path.hasPrefix("/") ? "/" : "") + parts.prefix(count).joined(separator: "/")
            if mkdir(part, 0o700) != 0, errno != EEXIST { throw refusal("make", part, errno) }
            // The name of a new directory stands in the one above it.
            let above = Glibc.open("\(part)/..", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
            guard above >= 0 else { throw refusal("open", part, errno) }
            fsync(above)
            close(above)
        }
    }

    /// A descriptor of the directory, which the caller closes.
    static func open(_ path: String) throws(Problem) -> Int32 {
        let descriptor = Glibc.open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        if descriptor < 0 { throw refusal("open", path, errno) }
        return descriptor
    }

    /// The names in a directory.
    static func names(_ directory: Int32, _ path: String) throws(Problem) -> [String] {
        do throws(StoreError) {
            return try DirectoryNames.list(directory, path: path)
        } catch {
            throw Problem(reason: error.message)
        }
    }

    /// What went wrong, and what to do about it.
    static func refusal(_ call: String, _ path: String, _ code: Int32) -> Problem {
        let remedy =
            switch code {
            case EACCES, EPERM:
                "give it to the user that runs this (chown \(geteuid()) \(shellQuoted(path)); chmod u+rwX), or name "
                    + "another directory"
            case ENOTDIR: "name a directory"
            case ENOENT: "name a directory that exists"
            case EROFS: "its file system is read-only: mount it writable, or name another directory"
            case ENOSPC, EDQUOT: "free some space there, or name another directory"
            case ENOLCK, EOPNOTSUPP: "its file system knows no locks: name a directory on a local disk"
            default: "name another directory if this one cannot be mended"
            }
        return Problem(reason: "cannot \(call) \(path): \(systemMessage(code)); \(remedy)")
    }
}

/// A path as one word of a shell's command.
func shellQuoted(_ text: String) -> String {
    let isPlain = text.utf8.allSatisfy { byte in
        (0x30...0x39).contains(byte) || (0x61...0x7a).contains(byte | 0x20) || "/._-+:,@%".utf8.contains(byte)
    }
    if isPlain, !text.isEmpty { return text }
    return "'" + text.split(separator: "'", omittingEmptySubsequences: false).joined(separator: "'\\''") + "'"
}
