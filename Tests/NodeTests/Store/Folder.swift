import Foundation
import Glibc

/// A directory on the real disk that is gone when the test is done with it.
final class Folder {
    let path: String

    init() throws {
        let place = FileManager.default.temporaryDirectory.appending(path: "hypha-test-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: place, withIntermediateDirectories: true)
        path = place.path(percentEncoded: false)
    }

    deinit {
        chmod(path, 0o700)
        try? FileManager.default.removeItem(atPath: path)
    }

    /// The path of something inside.
    subscript(name: String) -> String { "\(path)/\(name)" }

    func write(_ name: String, _ bytes: [UInt8]) throws {
        try Data(bytes).write(to: URL(filePath: self[name]))
    }

    func read(_ name: String) -> [UInt8]? { FileManager.default.contents(atPath: self[name]).map { Array($0) } }

    func names(in name: String = ".") -> [String] {
        ((try? FileManager.default.contentsOfDirectory(atPath: self[name])) ?? []).sorted()
    }
}
