import Foundation
import Gossip
import Testing

@testable import NodeCore

@Suite("A queue group of a durable node")
struct GroupStoreTests {
    private func consume(_ world: inout StoreWorld, _ session: UInt64) {
        world.give(.sessionOpened(SessionID(session)))
        world.give(.sessionText(SessionID(session)), #"{"type":"subscribe","group":"g","filter":{"topic":"a"}}"#)
        world.give(.turnEnded)
    }

    private func post(_ world: inout StoreWorld, _ number: Int) {
        #expect(
            world.ask(.postEvent, #"{"id":"\#(id(number))","topic":"a","type":"t","source":"s"}"#)?.status == 201)
    }

    /// Ids and attempts that a session got.
    private func got(_ world: StoreWorld, _ session: UInt64) -> [String] {
        world.sent.filter { $0.session == session }.compactMap { frame in
            let object = (try? JSONSerialization.jsonObject(with: Data(frame.text.utf8))) as? [String: Any] ?? [:]
            guard let data = object["data"] as? [String: Any], let attempt = object["attempt"] as? Int else {
                return nil
            }
            return "\(Int((data["id"] as? String ?? "").suffix(12), radix: 16) ?? 0)@\(attempt)"
        }
    }

    @Test("is there after a restart, with what was not settled and what nobody has had")
    func restart() throws {
        var world = try StoreWorld()
        consume(&world, 1)
        for number in 1...5 { post(&world, number) }
        #expect(got(world, 1) == ["1@1", "2@1", "3@1", "4@1", "5@1"])
        for number in [1, 2, 4] {
            world.give(.sessionText(SessionID(1)), #"{"type":"ack","group":"g","id":"\#(id(number))"}"#)
            world.give(.turnEnded)
        }
        world.pass(milliseconds: 300, step: 10)
        world.give(.sessionClosed(SessionID(1)))
        post(&world, 6)
        try world.restart()
        post(&world, 7)
        world.pass(milliseconds: 100, step: 10)
        consume(&world, 2)
        world.pass(milliseconds: 100, step: 10)
        // What was or may have been handed out before says so; what came since is as new.
        #expect(Set(got(world, 2)) == ["3@1001", "5@1001", "6@1001", "7@1"])
        #expect(got(world, 2).count == 4)
    }

    @Test("hands nothing out before the event is on the disk")
    func gate() throws {
        var world = try StoreWorld()
        consume(&world, 1)
        world.isPrompt = false
        world.give(
            .request(RequestID(77), .postEvent), #"{"id":"\#(id(1))","topic":"a","type":"t","source":"s"}"#)
        world.give(.turnEnded)
        #expect(got(world, 1).isEmpty)
        while !world.jobs.isEmpty { world.work() }
        #expect(got(world, 1) == ["1@1"])
    }
}
