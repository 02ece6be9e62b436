import CRDT

@testable import Gossip
@testable import NodeCore

/// An event without an id.
let anyEvent = #"{"type":"test","scope":"ui","trace_id":"t","agent_id":"a","payload":{"pattern":"p"}}"#

/// The same under an id that a test can tell from others.
func event(_ number: Int) -> String { #"{"id":"\#(id(number))","# + anyEvent.dropFirst() }

extension NodeWorld {
    /// Asks for a level; nil while the write waits.
    mutating func write(
        _ i: Int, as request: UInt64 = 7, _ what: Request, _ ack: String, after clock: CompactVector? = nil,
        _ body: String
    ) -> Answer? {
        give(.request(RequestID(request), what, after: clock, ack: AckLevel(ack)!), Array(body.utf8), to: i)
    }

    /// Posts an event and asks for a level; nil while the write waits.
    mutating func write(
        _ i: Int, as request: UInt64 = 7, _ ack: String, after clock: CompactVector? = nil, _ body: String = anyEvent
    ) -> Answer? {
        write(i, as: request, .postEvent, ack, after: clock, body)
    }

    /// So many nodes, each linked to each.
    static func linked(_ count: Int, durable: Set<Int> = []) -> NodeWorld {
        var world = NodeWorld(clocksAheadMs: Array(repeating: 0, count: count), durable: durable)
        for a in 0..<count { for b in 0..<a { world.link(b, a) } }
        return world
    }

    /// Own entries that a node has written.
    func written(_ i: Int) -> UInt64 { nodes[i].cluster.log.head(of: nodes[i].replica) }
}

extension CompactVector {
    var text: String {
        var out: [UInt8] = []
        encode(into: &out)
        return String(decoding: out, as: UTF8.self)
    }
}
