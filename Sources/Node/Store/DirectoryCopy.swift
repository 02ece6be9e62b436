internal import Glibc
internal import NodeCore

/// Copies data directories: a backup, or a backup's way back.
enum DirectoryCopy {
    private static let chunk = 1 << 20

    /// Copies the data files that `source` holds at this moment into `target`, syncs them and reads all of them again.
    /// If anything goes wrong, or if the copy is damaged and that is not accepted, nothing of it is left.
    static func make(
        of source: String, at target: String, as purpose: LockMark.State, acceptsLoss: Bool
    ) throws(Problem) -> DataReport {
        let from = try DirectoryPath.open(source)
        defer { close(from) }
        if DirectoryLock.state(from) == .copying {
            throw Problem(reason: "the copy into \(source) was never finished; take another one")
        }
        let reader = try refusing { () throws(StoreError) in try DirectoryReader(from, path: source) }
        let files = try refusing { () throws(StoreError) in try reader.files() }
        guard !files.isEmpty else { throw Problem(reason: "\(source) holds no data of a node") }

        let isNew = access(target, F_OK) != 0
        try DirectoryPath.make(target)
        let to = try DirectoryPath.open(target)
        defer { close(to) }
        guard try DirectoryPath.names(to, target).isEmpty else {
            throw Problem(reason: "\(target) is not empty; name a directory that is new or empty")
        }
        do throws(Problem) {
            // A copy that ends half-way must not be taken for a whole one.
            try DirectoryLock.mark(to, target, .copying)
            for file in files { try copy(file, of: reader, to, target) }
            let report = try refusing { () throws(StoreError) in
                var copied = try DirectoryReader(to, path: target)
                return try DataReport.of(&copied)
            }
            if !report.isWhole, !acceptsLoss { throw refusal(report, source, target, purpose) }
            try DirectoryLock.mark(to, target, purpose)
            return report
        } catch {
            for file in files { unlinkat(to, file.name, 0) }
            DirectoryLock.unmark(to)
            if isNew { rmdir(target) }
            throw error
        }
    }

    private static func refusal(
        _ report: DataReport, _ source: String, _ target: String, _ purpose: LockMark.State
    ) -> Problem {
        let damage = report.files.compactMap { file in file.problem.map { "\n  \(file.file): \($0)" } }.joined()
        let whole = "\(source) is damaged, and so would be its copy:" + damage
        guard purpose == .renew else { return Problem(reason: whole) }
        return Problem(
            reason: whole + "\nrestore what is left of it with\n  \(programName) data restore --accept-loss "
                + "\(shellQuoted(source)) \(shellQuoted(target))")
    }

    private static func copy(
        _ file: DataFile, of reader: DirectoryReader, _ to: Int32, _ target: String
    ) throws(Problem) {
        let path = "\(target)/\(file.name)"
        let descriptor = openat(to, file.name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw DirectoryPath.refusal("make", path, errno) }
        defer { close(descriptor) }
        let size = try refusing { () throws(StoreError) in try reader.size(of: file) }
        var offset: UInt64 = 0
        while offset < size {
            let bytes = try refusing { () throws(StoreError) in
                try reader.read(file, from: offset, count: chunk)
            }
            if bytes.isEmpty { break }
            // The room that a node keeps ahead of its log's end is zeros, which a file has wherever nothing was written.
            if bytes.allSatisfy({ $0 == 0 }) {
                guard lseek(descriptor, off_t(bytes.count), SEEK_CUR) >= 0 else {
                    throw DirectoryPath.refusal("write", path, errno)
                }
            } else if !writeFile(bytes, to: descriptor) {
                throw DirectoryPath.refusal("write", path, errno)
            }
            offset += UInt64(bytes.count)
        }
        guard ftruncate(descriptor, off_t(offset)) == 0 else { throw DirectoryPath.refusal("write", path, errno) }
        guard fsync(descriptor) == 0 else { throw DirectoryPath.refusal("sync", path, errno) }
    }

    private static func refusing<Value>(_ work: () throws(StoreError) -> Value) throws(Problem) -> Value {
        do throws(StoreError) {
            return try work()
        } catch {
            throw Problem(reason: error.message)
        }
    }
}
