internal import Glibc

/// What a system call failed with.
struct SystemCode: Error, Equatable {
    /// `errno`.
    let number: Int32

    /// The file system, or the user's share of it, has no room.
    var isFull: Bool { number == ENOSPC || number == EDQUOT }
    /// The file system does not know such a call.
    var isUnsupported: Bool { number == EOPNOTSUPP || number == ENOSYS || number == EINVAL }
}

/// The system calls that a data directory is written with, and nothing besides: tests put a disk of their own in their
/// place, which fails, forgets and loses power.
///
/// They behave as the system's do: `write` may take less than it is given, and all may be interrupted (`EINTR`).
protocol FileCalls: Sendable {
    /// Makes a file that must not exist yet, for its owner only.
    func create(_ name: String) throws(SystemCode) -> Int32
    /// Writes some of the bytes at this offset and tells how many.
    func write(_ file: Int32, _ bytes: RawSpan, at offset: Int) throws(SystemCode) -> Int
    /// Takes room for these bytes of the file, which then read as zeros; may take some of it when it fails.
    func reserve(_ file: Int32, from offset: Int, count: Int) throws(SystemCode)
    /// Gives the file this length.
    func truncate(_ file: Int32, to count: Int) throws(SystemCode)
    /// Returns once the file's bytes and length are on the disk. Its name is only after `syncDirectory`.
    func sync(_ file: Int32) throws(SystemCode)
    /// Returns once all names are on the disk.
    func syncDirectory() throws(SystemCode)
    /// Gives a file another name, in place of a file that had it.
    func rename(_ old: String, to new: String) throws(SystemCode)
    /// Removes a name.
    func remove(_ name: String) throws(SystemCode)
    /// Sees to it that what is read of a file from now on is on the disk: what the system holds for it and has not
    /// written is written, and what it holds besides is forgotten. After a sync that failed, that may be bytes which the
    /// disk does not have, and it would go on showing them (Rebello et al., ATC 2020, section 3).
    func settle(_ name: String) throws(SystemCode)
    /// Gives a descriptor back.
    func close(_ file: Int32)
    /// Bytes that this user may still write to the file system.
    func freeBytes() throws(SystemCode) -> Int
}

/// The real ones, in one directory. The directory stays the same one if it is renamed meanwhile.
struct SystemFiles: FileCalls {
    /// An open descriptor of the directory; whoever opened it closes it.
    let directory: Int32

    func create(_ name: String) throws(SystemCode) -> Int32 {
        Int32(try checked(Int(openat(directory, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600))))
    }

    func write(_ file: Int32, _ bytes: RawSpan, at offset: Int) throws(SystemCode) -> Int {
        try checked(bytes.withUnsafeBytes { pwrite(file, $0.baseAddress, $0.count, off_t(offset)) })
    }

    func reserve(_ file: Int32, from offset: Int, count: Int) throws(SystemCode) {
        // This one call tells its error as its result.
        let code = posix_fallocate(file, off_t(offset), off_t(count))
        if code != 0 { throw SystemCode(number: code) }
    }

    func truncate(_ file: Int32, to count: Int) throws(SystemCode) {
        _ = try checked(Int(ftruncate(file, off_t(count))))
    }

    func sync(_ file: Int32) throws(SystemCode) { _ = try checked(Int(fdatasync(file))) }

    func syncDirectory() throws(SystemCode) { _ = try checked(Int(fsync(directory))) }

    func rename(_ old: String, to new: String) throws(SystemCode) {
        _ = try checked(Int(renameat(directory, old, directory, new)))
    }

    func remove(_ name: String) throws(SystemCode) { _ = try checked(Int(unlinkat(directory, name, 0))) }

    func settle(_ name: String) throws(SystemCode) {
        let file = Int32(try checked(Int(openat(directory, name, O_RDWR | O_CLOEXEC))))
        defer { close(file) }
        try sync(file)
        // Advice only; where it is not taken, what is read may be what the system held.
        posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED)
    }

    func close(_ file: Int32) { _ = Glibc.close(file) }

    func freeBytes() throws(SystemCode) -> Int {
        var about = statvfs()
        _ = try checked(Int(fstatvfs(directory, &about)))
        return Int(clamping: UInt64(about.f_bavail) * UInt64(about.f_frsize))
    }

    private func checked(_ result: Int) throws(SystemCode) -> Int {
        if result < 0 { throw SystemCode(number: errno) }
        return result
    }
}
