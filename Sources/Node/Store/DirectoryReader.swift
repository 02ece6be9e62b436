internal import Glibc
internal import NodeCore
internal import Transport

/// The data files of a directory, as they were at one moment. All are opened at once, so that a node that goes on
/// working in the directory can remove what it likes: the bytes stay readable. What it appends is not seen, except that
/// the last block of the newest segment may end in a part of it, as after a crash.
final class DirectoryReader: DataDirectory {
    private struct Held {
        let file: DataFile
        let descriptor: Int32
        var size: UInt64
    }

    private let directory: Int32
    /// For messages.
    private let path: String
    private var held: [Held] = []

    /// How often a directory that changes meanwhile is looked at again.
    private static let attempts = 20

    /// Reads what `directory` holds now; whoever opened that descriptor closes it. `path` is for messages.
    init(_ directory: Int32, path: String) throws(StoreError) {
        self.directory = directory
        self.path = path
        // Each file is held open.
        ResourceLimits.raiseOpenDescriptors()
        for _ in 0..<Self.attempts {
            let names = try dataFiles()
            if try hold(names), try dataFiles() == names {
                try findEnd()
                return
            }
            letGo()
            usleep(10_000)
        }
        throw StoreError(.unreadable, "\(path) changes faster than it can be read; try again in a moment")
    }

    deinit { letGo() }

    func files() throws(StoreError) -> [DataFile] { held.map(\.file) }

    /// The segment that was written last.
    var newestSegment: DataFile? { held.last { $0.file.kind == .segment }?.file }

    func size(of file: DataFile) throws(StoreError) -> UInt64 { try find(file).size }

    func read(_ file: DataFile, from offset: UInt64, count: Int) throws(StoreError) -> [UInt8] {
        try read(try find(file), from: offset, count: count)
    }

    private func read(_ held: Held, from offset: UInt64, count: Int) throws(StoreError) -> [UInt8] {
        let wanted = offset < held.size ? Int(min(UInt64(count), held.size - offset)) : 0
        var code: Int32 = 0
        let bytes = [UInt8](unsafeUninitializedCapacity: wanted) { buffer, filled in
            while filled < wanted {
                let rest = UnsafeMutableRawPointer(buffer.baseAddress! + filled)
                let got = pread(held.descriptor, rest, wanted - filled, off_t(offset) + off_t(filled))
                if got > 0 {
                    filled += got
                } else if got == 0 {
                    // The node cuts off only what it has not written: zeros.
                    rest.initializeMemory(as: UInt8.self, repeating: 0, count: wanted - filled)
                    filled = wanted
                } else if errno != EINTR {
                    code = errno
                    return
                }
            }
        }
        if code != 0 { throw refusal("read", held.file.name, code) }
        return bytes
    }

    func quarantine(_ file: DataFile) throws(StoreError) {
        let found = try find(file)
        let folder = "quarantine"
        if mkdirat(directory, folder, 0o700) != 0, errno != EEXIST { throw refusal("make", folder, errno) }
        for copy in 0..<1_000 {
            let name = "\(folder)/\(file.name)" + (copy == 0 ? "" : ".\(copy)")
            var there = stat()
            if fstatat(directory, name, &there, 0) == 0 {
                if isCopy(there, name, of: found) { return }
                continue  // an older one of this name
            }
            if linkat(directory, file.name, directory, name, 0) != 0 { try copyOut(found, to: name) }
            try syncNames(folder)
            return
        }
        throw StoreError(.unreadable, "\(path)/\(folder) is full of copies of \(file.name); move them away")
    }

    /// Gives back the room that a killed node had reserved behind its log's end.
    func giveBackRoom() {
        guard let newest = held.last(where: { $0.file.kind == .segment }) else { return }
        let file = openat(directory, newest.file.name, O_WRONLY | O_CLOEXEC)
        guard file >= 0 else { return }
        ftruncate(file, off_t(newest.size))
        close(file)
    }

    /// Ends the newest segment where its bytes end: behind that there is room, which a running node fills while this
    /// reads. Whole blocks of zeros at the end are room: every record has bytes that are not zero.
    private func findEnd() throws(StoreError) {
        guard let newest = held.lastIndex(where: { $0.file.kind == .segment }) else { return }
        var end = held[newest].size
        while end > 0 {
            let from = end > 1 << 20 ? end - (1 << 20) : 0
            let bytes = try read(held[newest], from: from, count: Int(end - from))
            if let last = bytes.lastIndex(where: { $0 != 0 }) {
                end = from + UInt64(last) + 1
                break
            }
            end = from
        }
        let block: UInt64 = 4_096
        held[newest].size = min(held[newest].size, (end + block - 1) / block * block)
    }

    // MARK: -

    private func find(_ file: DataFile) throws(StoreError) -> Held {
        if let found = held.first(where: { $0.file == file }) { return found }
        throw StoreError(.unreadable, "\(path)/\(file.name) is missing")
    }

    private func refusal(_ call: String, _ name: String, _ code: Int32) -> StoreError {
        let remedy =
            switch code {
            case EACCES, EPERM: "; make it readable and writable for the user that runs the node"
            case EIO: "; the disk is damaged: restore a backup with hypha data restore"
            case EMFILE, ENFILE: "; allow more open files (ulimit -n)"
            default: ""
            }
        return StoreError(.unreadable, "cannot \(call) \(path)/\(name): \(systemMessage(code))\(remedy)")
    }

    private func dataFiles() throws(StoreError) -> [DataFile] {
        try DirectoryNames.list(directory, path: path).compactMap { DataFile(name: $0) }.sorted()
    }

    /// Opens all of them; false if one is gone by now.
    private func hold(_ files: [DataFile]) throws(StoreError) -> Bool {
        for file in files {
            let descriptor = openat(directory, file.name, O_RDONLY | O_CLOEXEC)
            if descriptor < 0 {
                if errno == ENOENT { return false }
                throw refusal("open", file.name, errno)
            }
            var about = stat()
            guard fstat(descriptor, &about) == 0, about.st_mode & S_IFMT == S_IFREG else {
                close(descriptor)
                throw StoreError(.unreadable, "\(path)/\(file.name) is not a file; move it away")
            }
            held.append(Held(file: file, descriptor: descriptor, size: UInt64(about.st_size)))
        }
        return true
    }

    private func letGo() {
        for one in held { close(one.descriptor) }
        held = []
    }

    /// Whether `name` is the very file, or holds just what it holds.
    private func isCopy(_ there: stat, _ name: String, of original: Held) -> Bool {
        var about = stat()
        guard fstat(original.descriptor, &about) == 0 else { return false }
        if about.st_ino == there.st_ino { return true }
        guard UInt64(there.st_size) == original.size else { return false }
        let descriptor = openat(directory, name, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return false }
        defer { close(descriptor) }
        var offset: UInt64 = 0
        while offset < original.size {
            guard let mine = try? read(original.file, from: offset, count: 1 << 16), !mine.isEmpty else { return false }
            var theirs = [UInt8](repeating: 0, count: mine.count)
            let got = theirs.withUnsafeMutableBytes { pread(descriptor, $0.baseAddress, $0.count, off_t(offset)) }
            guard got == mine.count, theirs == mine else { return false }
            offset += UInt64(mine.count)
        }
        return true
    }

    private func copyOut(_ original: Held, to name: String) throws(StoreError) {
        let descriptor = openat(directory, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        if descriptor < 0 { throw refusal("make", name, errno) }
        defer { close(descriptor) }
        var offset: UInt64 = 0
        while offset < original.size {
            let bytes = try read(original.file, from: offset, count: 1 << 20)
            if bytes.isEmpty { break }
            guard writeFile(bytes, to: descriptor), offset <= original.size else {
                let code = errno
                unlinkat(directory, name, 0)
                throw refusal("write", name, code)
            }
            offset += UInt64(bytes.count)
        }
        if fsync(descriptor) != 0 { throw refusal("sync", name, errno) }
    }

    private func syncNames(_ folder: String) throws(StoreError) {
        let descriptor = openat(directory, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        if descriptor < 0 { throw refusal("open", folder, errno) }
        defer { close(descriptor) }
        if fsync(descriptor) != 0 || fsync(directory) != 0 { throw refusal("sync", folder, errno) }
    }
}

/// The names in a directory.
enum DirectoryNames {
    /// All but `.` and `..`, in no order.
    static func list(_ directory: Int32, path: String) throws(StoreError) -> [String] {
        func refused() -> StoreError { StoreError(.unreadable, "cannot list \(path): \(systemMessage(errno))") }
        // A new description of the same directory, with a reading position of its own.
        let descriptor = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw refused() }
        guard let stream = fdopendir(descriptor) else {
            close(descriptor)
            throw refused()
        }
        defer { closedir(stream) }
        var names: [String] = []
        while true {
            errno = 0
            guard let entry = readdir(stream) else {
                if errno != 0 { throw refused() }
                return names
            }
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != ".", name != ".." { names.append(name) }
        }
    }
}

/// Writes everything at the descriptor's position; false with `errno` if the system refuses.
func writeFile(_ bytes: [UInt8], to descriptor: Int32) -> Bool {
    bytes.withUnsafeBytes { bytes in
        var done = 0
        while done < bytes.count {
            let count = write(descriptor, bytes.baseAddress! + done, bytes.count - done)
            if count > 0 {
                done += count
            } else if count == 0 || errno != EINTR {
                return false
            }
        }
        return true
    }
}
