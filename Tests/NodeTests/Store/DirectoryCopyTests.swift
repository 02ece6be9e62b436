import CRDT
import Foundation
import Glibc
import Gossip
import NodeCore
import Testing
import Transport

@testable import Node

/// Why there is no copy; nil if there is one.
private func refusal(_ source: String, _ target: String, _ purpose: LockMark.State, acceptsLoss: Bool = false)
    -> String?
{
    do throws(Problem) {
        _ = try DirectoryCopy.make(of: source, at: target, as: purpose, acceptsLoss: acceptsLoss)
        return nil
    } catch {
        return error.reason
    }
}

/// A node without network on a real directory, whose disk is served at once.
private final class NodeOnDisk {
    let lock: DirectoryLock
    private var core: NodeCore
    private var effects = NodeCore.Effects()
    private var writer: DiskWriter<SystemFiles>
    private let now = Instant(milliseconds: 1_000)
    private var answers: [String] = []

    init(_ path: String) throws {
        lock = try DirectoryLock(path)
        writer = DiskWriter(
            SystemFiles(directory: lock.directory), directory: path, room: .init(step: 1 << 16), clock: { 0 })
        var reader = try DirectoryReader(lock.directory, path: path)
        var opening = NodeCore.Opening(freshReplica: ReplicaID(Entropy.next() | 1))
        opening.renewsReplica = lock.renews
        core = try NodeCore.open(
            NodeSettings(name: "n", replica: ReplicaID(1), advertise: Address(ipv4: 0x7f00_0001, port: 7_946)), &reader,
            opening, wallMilliseconds: 1_740_000_000_000, now: now, dice: Dice(seed: Entropy.next()),
            progress: { _, _ in })
        feed(.tick)
        feed(.turnEnded)
        try lock.wasRenewed()
    }

    var replica: ReplicaID { core.replica }

    /// Posts events and returns the last answer.
    func post(_ count: Int) -> String? {
        for number in 0..<count {
            let body = """
                {"type":"reward","scope":"s","trace_id":"t","agent_id":"a","payload":{"n":\(number),"value":0.1}}
                """
            feed(.request(RequestID(1), .postEvent), Array(body.utf8))
            feed(.turnEnded)
        }
        return answers.last
    }

    func events() -> String? {
        feed(.request(RequestID(1), .events(.init(limit: 10_000))))
        return answers.last
    }

    private func feed(_ input: NodeCore.Input, _ bytes: [UInt8] = []) {
        core.handle(input, bytes.span.bytes, now: now, into: &effects)
        while !effects.list.isEmpty {
            let work = effects
            effects.removeAll()
            for effect in work.list {
                if case .reply(_, _, let body) = effect {
                    answers.append(String(decoding: work.bytes[body], as: UTF8.self))
                }
                guard case .disk(let job) = effect, let result = writer.perform(job) else { continue }
                core.handle(.disk(result), RawSpan(), now: now, into: &effects)
            }
        }
    }
}

@Suite("Backups, taken beside a running node, and their way back")
struct DirectoryCopyTests {
    @Test(
        "A backup of a running node holds all that was acknowledged; restored, it is another log with the same events")
    func roundTrip() throws {
        let folder = try Folder()
        let node = try NodeOnDisk(folder["data"])
        #expect(node.post(200)?.contains("\"id\"") == true)
        let report = try DirectoryCopy.make(of: folder["data"], at: folder["b/backup"], as: .backup, acceptsLoss: false)
        #expect(report.isWhole && report.events == 200 && report.replica == node.replica)
        #expect(
            refusal(folder["data"], folder["b/backup"], .backup)?.hasSuffix(
                "is not empty; name a directory that is new or empty") == true)
        _ = node.post(50)
        #expect(throws: Problem.self, "a backup is not to be run") { try DirectoryLock(folder["b/backup"]) }

        #expect(refusal(folder["b/backup"], folder["restored"], .renew) == nil)
        let restored = try NodeOnDisk(folder["restored"])
        #expect(restored.replica != node.replica && !restored.lock.renews)
        let events = try #require(restored.events())
        let list = try #require(try JSONSerialization.jsonObject(with: Data(events.utf8)) as? [[String: Any]])
        #expect(list.count == 200)
        #expect(restored.post(1)?.contains("\"seq\":1,") == true, "the first entry of its own log")

        // What a plain copy is good for.
        try FileManager.default.copyItem(atPath: folder["data"], toPath: folder["copy"])
        #expect(throws: Problem.self) { try DirectoryLock(folder["copy"]) }
        #expect(refusal(folder["copy"], folder["usable"], .renew) == nil)
        #expect(try NodeOnDisk(folder["usable"]).replica != node.replica)
    }

    @Test(
        "A damaged directory makes no backup, and is restored only if that is accepted; nothing is left of what failed")
    func damaged() throws {
        let folder = try Folder()
        do { _ = try NodeOnDisk(folder["data"]).post(50) }
        var bytes = try #require(folder.read("data/log-0000000000000001"))
        bytes[5_000] ^= 4
        try folder.write("data/log-0000000000000001", bytes)
        #expect(
            refusal(folder["data"], folder["backup"], .backup)?.contains("is damaged, and so would be its copy") == true
        )
        #expect(folder.names() == ["data"])
        let reason = try #require(refusal(folder["data"], folder["new"], .renew))
        #expect(reason.hasSuffix("data restore --accept-loss \(folder["data"]) \(folder["new"])"))
        #expect(refusal(folder["data"], folder["new"], .renew, acceptsLoss: true) == nil)
        let copied = try #require(folder.read("new/log-0000000000000001"))
        #expect(copied.count > 5_000 && bytes.starts(with: copied))
        #expect(bytes[copied.count...].allSatisfy { $0 == 0 }, "without the room behind its end")
    }

    @Test("What holds no data, or was never finished, is no source")
    func noSource() throws {
        let folder = try Folder()
        #expect(
            refusal(folder["x"], folder["y"], .backup)?.hasPrefix("cannot open \(folder["x"]): no such file") == true)
        #expect(refusal(folder.path, folder["y"], .backup) == "\(folder.path) holds no data of a node")
        let directory = try DirectoryPath.open(folder.path)
        defer { close(directory) }
        try DirectoryLock.mark(directory, folder.path, .copying)
        #expect(
            refusal(folder.path, folder["y"], .renew)
                == "the copy into \(folder.path) was never finished; take another one")
        #expect(folder.names() == ["lock"])
    }
}
