import CRDT
import Gossip
import Testing

@testable import NodeCore

@Suite("Presence")
struct PresenceTests {
    private let ada = ReplicaID(0xa)
    private let bob = ReplicaID(0xb)
    private let cyd = ReplicaID(0xc)
    private func at(_ milliseconds: UInt64) -> Instant { Instant(milliseconds: milliseconds) }

    /// A node's sessions with these agents, numbered from one.
    private func node(_ replica: ReplicaID, _ agents: [String]) -> Presence {
        var presence = Presence(me: replica, profile: .lan)
        for (i, agent) in agents.enumerated() {
            presence.open(SessionID(UInt64(i) + 1), agent: agent, isStream: i % 2 == 1, nowMs: 1_000)
        }
        return presence
    }

    private func hear(_ presence: inout Presence, _ peer: ReplicaID, _ frames: [[UInt8]]) throws {
        for frame in frames { try presence.hear(peer, frame.span.bytes) }
    }

    private func agents(_ presence: Presence, _ now: Instant) -> [String] {
        let found = presence.sessions(now: now).compactMap(\.session.agent)
        for agent in ["x", "y"] {
            #expect(presence.isOnline(agent, now: now) == found.contains(agent), "\(agent) by another way")
        }
        return found
    }

    @Test("A peer's roster comes in frames of bounded size, and only the whole of it counts")
    func chunks() throws {
        let many = (0..<3_000).map { "agent-with-a-rather-long-name-\($0)" }
        let frames = node(bob, many).whole()
        #expect(frames.count > 1)
        #expect(frames.allSatisfy { $0.count <= Roster.frameBytes + 2_048 })
        var mine = Presence(me: ada, profile: .lan)
        mine.linked(bob, nonce: 1, now: at(0))
        try hear(&mine, bob, frames.dropLast())
        #expect(mine.remoteCount == 0)
        try hear(&mine, bob, [frames.last!])
        #expect(Set(agents(mine, at(0))) == Set(many))
        // A part without the first one is out of turn.
        mine.linked(bob, nonce: 1, now: at(0))
        #expect(throws: DecodeError.self) { try hear(&mine, bob, [frames.last!]) }
        #expect(mine.remoteCount == 3_000)
    }

    @Test("Sessions of a node that starts again are shown for a grace, and an agent that is back never goes")
    func restart() throws {
        var mine = Presence(me: ada, profile: .lan)
        mine.linked(bob, nonce: 1, now: at(0))
        try hear(&mine, bob, node(bob, ["x", "y"]).whole())
        mine.unlinked(bob)
        #expect(agents(mine, at(10)) == ["x", "y"])
        mine.linked(bob, nonce: 2, now: at(100))
        #expect(agents(mine, at(101)) == ["x", "y"])
        #expect(mine.sessions(now: at(101)).allSatisfy { $0.isGone })
        try hear(&mine, bob, node(bob, ["y"]).whole())
        #expect(agents(mine, at(102)).sorted() == ["x", "y"])
        #expect(mine.wake == at(5_100))
        mine.expire(now: at(5_100))
        #expect(agents(mine, at(5_100)) == ["y"])
        #expect(mine.lingeringCount == 0)
        #expect(mine.wake == nil)
    }

    @Test("Sessions of a dead node go after the grace; what it is not dead for comes back")
    func death() throws {
        var mine = Presence(me: ada, profile: .lan)
        for peer in [bob, cyd] { mine.linked(peer, nonce: 1, now: at(0)) }
        try hear(&mine, bob, node(bob, ["x"]).whole())
        try hear(&mine, cyd, node(cyd, ["y"]).whole())
        mine.unlinked(bob)
        mine.follow(now: at(1_000)) { $0 == cyd }
        #expect(agents(mine, at(5_999)) == ["x", "y"])
        #expect(agents(mine, at(6_000)) == ["y"])
        // Word comes that it lives.
        mine.follow(now: at(5_500)) { _ in true }
        mine.expire(now: at(9_000))
        #expect(agents(mine, at(9_000)) == ["x", "y"])
        mine.follow(now: at(9_000)) { $0 == cyd }
        mine.open(SessionID(9), agent: "x", isStream: false, nowMs: 9_000)
        #expect(mine.sessions(now: at(9_001)).filter { $0.session.agent == "x" }.map(\.seat.node) == [ada])
        mine.expire(now: at(14_000))
        #expect(mine.peers[bob] == nil)
    }

    @Test("What changed is told once, and an unnamed session not at all")
    func deltas() throws {
        var theirs = Presence(me: bob, profile: .lan)
        var mine = Presence(me: ada, profile: .lan)
        mine.linked(bob, nonce: 1, now: at(0))
        try hear(&mine, bob, theirs.whole())
        theirs.open(SessionID(1), agent: nil, isStream: false, nowMs: 5)
        #expect(theirs.takeDelta().isEmpty)
        theirs.identify(SessionID(1), "x")
        theirs.join(SessionID(1), "g", limit: 7)
        let delta = theirs.takeDelta()
        #expect(delta.count == 1)
        #expect(theirs.takeDelta().isEmpty)
        try hear(&mine, bob, delta)
        let seat = Seat(node: bob, session: SessionID(1))
        #expect(mine.takeChanges() == [.linked(bob, true), .joined(seat, group: "g", limit: 7)])
        #expect(mine.consumers(of: "g").map(\.limit) == [7])
        theirs.close(SessionID(1))
        try hear(&mine, bob, theirs.takeDelta())
        #expect(mine.takeChanges() == [.left(seat, group: "g")])
        #expect(agents(mine, at(1)).isEmpty)
    }

    @Test("Hostile rosters are refused before anything is made of them")
    func hostile() throws {
        var mine = Presence(me: ada, profile: .lan)
        mine.linked(bob, nonce: 1, now: at(0))
        let good = node(bob, ["x", "y"]).whole()[0]
        for end in 1..<good.count where end != 1 {
            // Cut between two sessions it is a shorter roster.
            let cut = Array(good[..<end])
            if (try? Roster.decode(cut.span.bytes)) != nil { #expect(cut.count < good.count) }
        }
        let all: [[UInt8]] = [
            [], [0, 1], [0, 1, 3], [0, 1, 1, 0xff, 0xff, 0x7f], [0, 1, 1, 1, 0xff, 0, 0],
            [0, 1, 1, 0, 0, 0xff, 0x7f],
        ]
        for bad in all { #expect(throws: DecodeError.self) { try mine.hear(bob, bad.span.bytes) } }
        #expect(mine.remoteCount == 0)
    }

    @Test("Who is connected is seen at every node, until its node is dead and the grace is over")
    func cluster() {
        var it = GroupWorld(nodes: 3)
        it.world.give(.sessionOpened(SessionID(1), agent: "ada"), [], to: 0)
        it.world.open(2, at: 1)
        it.world.say(2, #"{"type":"identify","agent":"ada"}"#, to: 1)
        it.world.open(3, at: 1)
        it.run(50)
        for node in 0..<3 {
            let sessions = it.world.ask(node, .presenceOf(agent: "ada")).object["sessions"] as? [[String: Any]] ?? []
            #expect(sessions.compactMap { $0["node"] as? String } == ["n0", "n1"])
            #expect(sessions.allSatisfy { $0["form"] as? String == "websocket" && $0["node_gone"] as? Bool == false })
            #expect((it.world.ask(node, .presence).object["agents"] as? [Any])?.count == 1)
        }
        #expect(it.world.ask(2, .presenceOf(agent: "bob")).status == 404)
        it.world.close(2, at: 1)
        it.run(50)
        it.world.cutOff = [0]
        it.run(100)
        #expect(it.world.ask(2, .presenceOf(agent: "ada")).status == 200)
        it.run(10_000)
        #expect(it.world.ask(2, .presenceOf(agent: "ada")).status == 404)
        it.world.cutOff = []
        it.run(10_000)
        #expect(it.world.ask(2, .presenceOf(agent: "ada")).status == 200)
    }
}
