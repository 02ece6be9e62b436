import Foundation
import Glibc
import NodeCore
import Testing

@testable import Node

/// Why the directory cannot be used; nil if it can.
private func refusal(_ path: String) -> String? {
    do throws(Problem) {
        _ = try DirectoryLock(path)
        return nil
    } catch {
        return error.reason
    }
}

@Suite("A data directory belongs to one node, and a copy gives itself away")
struct DirectoryLockTests {
    private static let segment = DataFile.segment(1).name

    @Test("A missing directory is made, for its owner only, and so are those above it")
    func made() throws {
        let folder = try Folder()
        let lock = try DirectoryLock(folder["a/b/data"])
        #expect(!lock.renews && lock.warnings.isEmpty && folder.names(in: "a/b/data") == ["lock"])
        for name in ["a", "a/b", "a/b/data"] {
            var about = stat()
            #expect(stat(folder[name], &about) == 0 && about.st_mode & 0o777 == 0o700)
        }
    }

    @Test("A second one is refused and told who holds it, even if the lock file was removed; afterwards it may")
    func inUse() throws {
        let folder = try Folder()
        var first: DirectoryLock? = try DirectoryLock(folder["data"])
        let expected =
            "the data directory \(folder["data"]) is in use by process \(getpid()); stop that one first, or name another "
            + "directory with --data"
        #expect(refusal(folder["data"]) == expected)
        try FileManager.default.removeItem(atPath: folder["data/lock"])
        #expect(refusal(folder["data"])?.contains("is in use by another process; stop") == true)
        withExtendedLifetime(first) {}
        first = nil
        #expect(refusal(folder["data"]) == nil)
    }

    @Test("A copied directory is refused with the command that makes it usable; moved, it is still the same one")
    func copied() throws {
        let folder = try Folder()
        _ = try DirectoryLock(folder["data"])
        try folder.write("data/\(Self.segment)", [1])
        try FileManager.default.moveItem(atPath: folder["data"], toPath: folder["it's moved"])
        #expect(refusal(folder["it's moved"]) == nil)
        try FileManager.default.copyItem(atPath: folder["it's moved"], toPath: folder["copy"])
        let reason = try #require(refusal(folder["copy"]))
        #expect(reason.hasPrefix("\(folder["copy"]) is a copy of a data directory"))
        #expect(reason.hasSuffix("\n  \(programName) data restore \(folder["copy"]) \(folder["copy"])-restored"))
        #expect(refusal(folder["copy"]) == reason, "again and again")
        #expect(refusal(folder["it's moved"]) == nil)
        #expect(shellQuoted("it's") == "'it'\\''s'" && shellQuoted("/a-b_c.d") == "/a-b_c.d" && shellQuoted("") == "''")
    }

    @Test("A restored directory asks for a new id until one is on the disk")
    func renewal() throws {
        let folder = try Folder()
        try FileManager.default.createDirectory(atPath: folder["data"], withIntermediateDirectories: false)
        try folder.write("data/\(Self.segment)", [1])
        let directory = try DirectoryPath.open(folder["data"])
        defer { close(directory) }
        try DirectoryLock.mark(directory, folder["data"], .renew)
        #expect(try DirectoryLock(folder["data"]).renews)
        do {
            let lock = try DirectoryLock(folder["data"])
            #expect(lock.renews, "it died before anything was on the disk")
            try lock.wasRenewed()
            #expect(!lock.renews)
        }
        #expect(try !DirectoryLock(folder["data"]).renews)
        for (state, words) in [
            (LockMark.State.backup, "is a backup, which no node may change; make a node's directory of it:\n"),
            (.copying, "was never finished; remove it, and copy again:\n"),
        ] {
            try DirectoryLock.mark(directory, folder["data"], state)
            #expect(refusal(folder["data"])?.contains(words) == true)
            #expect(DirectoryLock.state(directory) == state)
        }
    }

    @Test("A missing or damaged lock file is told, written anew, and answered with a new id if there are data")
    func damaged() throws {
        for text in [nil, "", "hypha-data format=1 state=live", "\u{0}\u{0}", String(repeating: "x", count: 9_999)] {
            for hasData in [false, true] {
                let folder = try Folder()
                if let text { try folder.write("lock", Array(text.utf8)) }
                if hasData { try folder.write(Self.segment, [1]) }
                let what = (text ?? "").isEmpty ? "is missing" : "is damaged"
                do {
                    let lock = try DirectoryLock(folder.path)
                    let isNew = (text ?? "").isEmpty && !hasData
                    #expect(lock.renews == hasData && lock.warnings.isEmpty == isNew)
                    let told = "\(folder.path)/lock \(what) and was written anew"
                    #expect(isNew || lock.warnings[0].hasPrefix(told))
                }
                let again = try DirectoryLock(folder.path)
                #expect(again.renews == hasData && again.warnings.isEmpty)
            }
        }
    }

    @Test("Whichever bit of the mark flips, it is damaged and never means something else")
    func flippedBits() throws {
        let mark = LockMark(state: .live, inode: 123_456_789, born: 1_795_289_551_388_143_505)
        let text = mark.text(pid: 4_711)
        #expect(try LockMark(text) == mark && LockMark.pid(in: text) == 4_711)
        let line = text.firstIndex(of: 0x0a)!
        for bit in 0..<((line + 1) * 8) {
            var flipped = text
            flipped[bit / 8] ^= 1 << (bit % 8)
            #expect(throws: LockMark.Unreadable.damaged, "bit \(bit)") { try LockMark(flipped) }
        }
        for count in 0...line { #expect(throws: LockMark.Unreadable.damaged) { try LockMark(Array(text[..<count])) } }
    }

    @Test("The mark fits the file it was written into: number and birth, where the file system tells it")
    func fits() {
        let mark = LockMark(state: .live, inode: 5, born: 7)
        #expect(mark.fits(inode: 5, born: 7) && mark.fits(inode: 5, born: 0))
        #expect(!mark.fits(inode: 5, born: 8) && !mark.fits(inode: 6, born: 7))
        #expect(LockMark(state: .live, inode: 5, born: 0).fits(inode: 5, born: 9))
    }

    @Test("A directory of a newer version is refused")
    func newer() throws {
        let folder = try Folder()
        // What a later version may write: more fields, and the checksum at the end.
        let marks = "hypha-data format=2 state=live inode=1 born=2 key=3"
        try folder.write("lock", Array("\(marks) check=\(LockMark.check(marks))\npid=1\n".utf8))
        #expect(
            refusal(folder.path)
                == "\(folder.path) was written by a newer version of Hypha (format 2; this version knows 1); run that "
                + "version, or name another directory with --data")
    }

    @Test("What is no directory, or not ours, is refused with the path and what to do")
    func unusable() throws {
        let folder = try Folder()
        try folder.write("file", [1])
        #expect(refusal(folder["file"]) == "cannot open \(folder["file"]): not a directory; name a directory")
        #expect(refusal(folder["file/data"])?.contains("not a directory") == true)
        #expect(
            DirectoryPath.refusal("open", "/d", EROFS).reason
                == "cannot open /d: read-only file system; its file system is read-only: mount it writable, or name another "
                + "directory")
        // Nothing is forbidden to root.
        guard geteuid() != 0 else { return }
        chmod(folder.path, 0o500)
        #expect(
            refusal(folder.path)?.hasPrefix("cannot write to \(folder.path): permission denied; give it to the user")
                == true)
    }

    @Test("What an earlier process left unfinished is removed, and nothing else")
    func leftovers() throws {
        let folder = try Folder()
        for name in ["state-0000000000000001.tmp", "room.tmp", "state-0000000000000002", "notes"] {
            try folder.write(name, [1])
        }
        _ = try DirectoryLock(folder.path)
        #expect(folder.names() == ["lock", "notes", "state-0000000000000002"])
    }
}
