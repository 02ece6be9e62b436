import Foundation
import Glibc
import NodeCore
import Testing

@testable import Node

@Suite("Reading and copying data directories")
struct DirectoryReaderTests {
    private let folder: Folder
    private let directory: Int32
    private let big = (0..<3_000_000).map { UInt8(truncatingIfNeeded: $0 &* 31 + $0 >> 9) }

    init() throws {
        folder = try Folder()
        for (name, bytes) in [
            ("log-0000000000000002", big), ("log-0000000000000001", [1, 2, 3]), ("state-0000000000000002", [9]),
            ("lock", [0]), ("state-0000000000000003.tmp", [0]), ("log-2", [0]),
        ] { try folder.write(name, bytes) }
        directory = try DirectoryPath.open(folder.path)
    }

    private func read(_ reader: DirectoryReader, _ file: DataFile) throws(StoreError) -> [UInt8] {
        try reader.read(file, from: 0, count: 1 << 30)
    }

    @Test("Only data files are there, in order; they are read in parts, and behind their end there is nothing")
    func plain() throws {
        defer { close(directory) }
        let reader = try DirectoryReader(directory, path: folder.path)
        #expect(try reader.files() == [.segment(1), .segment(2), .snapshot(2)])
        #expect(try reader.size(of: .segment(2)) == 3_000_000)
        #expect(try read(reader, .segment(2)) == big)
        #expect(try reader.read(.segment(2), from: 2_999_990, count: 100) == Array(big.suffix(10)))
        #expect(
            try reader.read(.segment(1), from: 3, count: 5) == [] && reader.read(.segment(1), from: 99, count: 5) == [])
        #expect(throws: StoreError(.unreadable, "\(folder.path)/log-0000000000000009 is missing")) {
            try reader.size(of: .segment(9))
        }
    }

    @Test(
        "What a node does meanwhile is not seen: removed files stay readable, new bytes are not there, cut ones are zeros"
    )
    func oneMoment() throws {
        defer { close(directory) }
        let reader = try DirectoryReader(directory, path: folder.path)
        try FileManager.default.removeItem(atPath: folder["log-0000000000000002"])
        try folder.write("log-0000000000000003", [1])
        let file = try #require(FileHandle(forUpdatingAtPath: folder["log-0000000000000001"]))
        try file.seekToEnd()
        try file.write(contentsOf: [4, 5])
        #expect(try reader.files().count == 3)
        #expect(try read(reader, .segment(2)) == big && read(reader, .segment(1)) == [1, 2, 3])
        try file.truncate(atOffset: 1)
        #expect(try read(reader, .segment(1)) == [1, 0, 0])
    }

    @Test("What a running node writes into the room behind its log's end is not seen either")
    func room() throws {
        defer { close(directory) }
        try folder.write("log-0000000000000004", big + [UInt8](repeating: 0, count: 2_000_000))
        let reader = try DirectoryReader(directory, path: folder.path)
        let size = try reader.size(of: .segment(4))
        #expect(size >= 3_000_000 && size < 3_004_096)
        let file = try #require(FileHandle(forUpdatingAtPath: folder["log-0000000000000004"]))
        try file.seek(toOffset: 3_000_000)
        try file.write(contentsOf: big)
        #expect(try reader.size(of: .segment(4)) == size && read(reader, .segment(4)).count == size)
    }

    @Test("Damaged bytes are kept aside once; another file of that name is kept beside them")
    func quarantine() throws {
        defer { close(directory) }
        for _ in 0..<2 { try DirectoryReader(directory, path: folder.path).quarantine(.segment(1)) }
        #expect(folder.names(in: "quarantine") == ["log-0000000000000001"])
        #expect(folder.read("quarantine/log-0000000000000001") == [1, 2, 3])
        try FileManager.default.removeItem(atPath: folder["log-0000000000000001"])
        try folder.write("log-0000000000000001", [1, 2, 3])
        try DirectoryReader(directory, path: folder.path).quarantine(.segment(1))
        #expect(folder.names(in: "quarantine").count == 1, "another file of the same bytes is no news")
        try folder.write("log-0000000000000001", [7, 8])
        try DirectoryReader(directory, path: folder.path).quarantine(.segment(1))
        #expect(folder.names(in: "quarantine") == ["log-0000000000000001", "log-0000000000000001.1"])
        #expect(folder.read("log-0000000000000001") == [7, 8], "and it stays where it is")
    }

    @Test("The room that a killed node had reserved is given back, and no byte that was written")
    func givenBack() throws {
        defer { close(directory) }
        for (written, left) in [(5_000, 8_192), (4_096, 4_096), (0, 0), (2_000_000, 2_002_944)] {
            let bytes = Array(big[..<max(0, written - 1)]) + (written > 0 ? [7] : [])
            try folder.write("log-0000000000000004", bytes + [UInt8](repeating: 0, count: 3_000_000))
            try DirectoryReader(directory, path: folder.path).giveBackRoom()
            let found = try #require(folder.read("log-0000000000000004"))
            #expect(found.count == left && found.starts(with: bytes) && found[written...].allSatisfy { $0 == 0 })
        }
        #expect(folder.read("log-0000000000000002") == big)
    }
}
