import Foundation
import Gossip
import Testing

@testable import NodeCore

/// An event as a consumer got it.
struct Got: Equatable {
    let node: Int
    let session: UInt64
    let id: String
    let attempt: Int
}

/// Nodes with a network and consumers of queue groups, who acknowledge what they get unless they are told not to.
struct GroupWorld {
    var world = NodeWorld(clocksAheadMs: [])
    /// Everything that consumers were given, in order.
    private(set) var got: [Got] = []
    /// Sessions that acknowledge nothing.
    var silent: Set<UInt64> = []
    /// Nodes whose consumers are not heard any more.
    var dead: Set<Int> = []
    private var seen: [Int] = []
    private(set) var posted: [String] = []
    /// Other messages to consumers than events.
    private(set) var said: [String] = []

    /// So many nodes that know each other.
    init(nodes: Int) {
        world.hasNetwork = true
        for _ in 0..<nodes { world.add(profile: .fast) }
        seen = Array(repeating: 0, count: nodes)
        run(3_000)
        for i in 0..<nodes { #expect(world.nodes[i].cluster.mesh.linkedPeers.count == nodes - 1) }
    }

    static let topic = #"{"topic":"work.>"}"#

    /// A consumer connects; `options` are further members of its message.
    mutating func consume(
        _ session: UInt64, at node: Int, _ group: String = "g", filter: String = GroupWorld.topic,
        options: String = ""
    ) {
        world.open(session, at: node)
        world.say(
            session, #"{"type":"subscribe","group":"\#(group)","filter":\#(filter),"ref":1\#(options)}"#, to: node)
        work()
    }

    static func event(_ number: Int, topic: String = "work.a") -> String {
        #"{"id":"\#(NodeCoreTests.id(number))","topic":"\#(topic)","type":"t","source":"s","data":{"n":\#(number)}}"#
    }

    mutating func post(_ number: Int, at node: Int, topic: String = "work.a") {
        let answer = world.post(node, Self.event(number, topic: topic))
        #expect(answer.status == 201, "\(answer.text)")
        posted.append(NodeCoreTests.id(number))
        work()
    }

    mutating func acknowledge(_ id: String, session: UInt64, at node: Int, _ group: String = "g", nack: Int? = nil) {
        let type = nack == nil ? "ack" : "nack"
        let delay = nack.map { ",\"delay_ms\":\($0)" } ?? ""
        world.say(session, #"{"type":"\#(type)","group":"\#(group)","id":"\#(id)"\#(delay)}"#, to: node)
    }

    /// Consumers read what came, and acknowledge it, until nothing more comes.
    mutating func work() {
        var isBusy = true
        while isBusy {
            isBusy = false
            world.deliver()
            for node in seen.indices where !dead.contains(node) {
                let frames = world.sent[node][seen[node]...]
                seen[node] = world.sent[node].count
                for frame in frames {
                    let object =
                        (try? JSONSerialization.jsonObject(with: Data(frame.text.utf8))) as? [String: Any] ?? [:]
                    guard object["type"] as? String == "event", let group = object["group"] as? String else {
                        said.append(frame.text)
                        continue
                    }
                    let id = (object["data"] as? [String: Any])?["id"] as? String ?? ""
                    let session = frame.session.rawValue
                    got.append(Got(node: node, session: session, id: id, attempt: object["attempt"] as? Int ?? 0))
                    if !silent.contains(session) { acknowledge(id, session: session, at: node, group) }
                    isBusy = true
                }
            }
        }
    }

    mutating func run(_ milliseconds: UInt64) {
        for _ in 0..<max(1, milliseconds / 10) {
            world.run(milliseconds: min(10, milliseconds))
            work()
        }
    }

    /// How often each id was handed out.
    var counts: [String: Int] { Dictionary(got.map { ($0.id, 1) }, uniquingKeysWith: +) }
    /// Ids that were handed out more often than once although nothing explains it.
    var unexplained: [Got] {
        got.filter { counts[$0.id]! > 1 && $0.attempt == 1 }.filter { first in
            got.contains { $0.id == first.id && $0 != first && $0.attempt == 1 }
        }
    }

    mutating func group(_ node: Int, _ name: String = "g") -> [String: Any] {
        world.ask(node, .groupNamed(name)).object
    }

    /// How many entries of all logs are open, as a node knows.
    mutating func open(_ node: Int) -> Int { group(node)["open"] as? Int ?? -1 }
}
