internal import CRDT
internal import Gossip
internal import NodeCore

/// Writes down what a report draws: what happened, and samples of what each peer believes and lacks.
///
/// It only looks: a sample asks a copy of each node, between two happenings, and draws no number. So a run with a
/// recorder goes the same way, byte for byte, as one without.
final class Recorder {
    /// Something that happened.
    enum Note: Equatable {
        case started(Int, wrongMs: Int64)
        case killed(Int)
        case leaving(Int)
        case left(Int)
        case stopped(Int, ms: UInt64)
        /// A running node took a new replica id.
        case reborn(Int)
        case cut([Cut])
        case weather(Fault)
        case broken(String)
    }

    /// What one peer believes of one machine's node.
    enum Belief: Int {
        case unknown, alive, suspect, dead, left
        /// Knows only an earlier life of it, and takes that for alive.
        case outdated

        init(_ state: String) {
            switch state {
            case "alive": self = .alive
            case "suspect": self = .suspect
            case "dead": self = .dead
            case "left": self = .left
            default: self = .unknown
            }
        }
    }

    /// How things stood at one moment.
    struct Sample {
        var at: UInt64
        /// Per machine: entries that some running node has read and this one has not; nil while nothing runs.
        var missing: [Int?]
        /// Per machine: entries read.
        var read: [Int?]
        /// Bytes of entries that wait for their causes, of all nodes.
        var waitingBytes: Int
        var traffic: Traffic
    }

    /// A change of one belief.
    struct Change {
        var at: UInt64
        var observer: Int
        var about: Int
        var belief: Belief
    }

    private(set) var notes: [(at: UInt64, note: Note)] = []
    private(set) var samples: [Sample] = []
    private(set) var changes: [Change] = []
    private(set) var names: [String] = []
    private(set) var endUs: UInt64 = 0
    /// When the next sample is due, in microseconds of the world.
    private(set) var nextSample: UInt64 = 0
    /// The time between two samples; doubles when there are too many of them.
    private var stepUs: UInt64 = 100_000
    /// The most samples, and the most of anything else: a page is to open at once, whatever it shows.
    private static let mostSamples = 1_600
    private static let mostNotes = 100_000

    private var beliefs: [[Belief]] = []
    private var selves: [(life: Int, replica: String)] = []

    /// Something happened.
    func note(_ note: Note, at time: UInt64) { if notes.count < Recorder.mostNotes { notes.append((time, note)) } }

    /// A fault struck; those that show as something else are left out.
    func note(_ fault: Fault, at time: UInt64) {
        switch fault {
        case .step, .drift, .burst, .slowLink, .clone, .power, .disk: note(.weather(fault), at: time)
        case .partition, .oneWay, .bridge, .heal, .crash, .pause, .leave, .join: break
        }
    }

    /// The run is over.
    func end(_ cluster: Cluster, _ violation: Violation?) {
        if let violation, !notes.contains(where: { $0.note == .broken(violation.promise) }) {
            note(.broken(violation.promise), at: cluster.now)
        }
        endUs = cluster.now
        sample(cluster, at: cluster.now)
    }

    /// Looks at every node as it stands at `time`.
    func sample(_ cluster: Cluster, at time: UInt64) {
        let nodes = cluster.nodes
        if names.isEmpty {
            names = nodes.map { "n\($0.index)" }
            beliefs = nodes.map { _ in nodes.map { _ in .unknown } }
            selves = nodes.map { _ in (0, "") }
        }
        var vectors: [[String: Int]?] = []
        var waitingBytes = 0
        for node in nodes {
            guard let core = node.core else {
                vectors.append(nil)
                continue
            }
            let now = node.clock(at: time)
            let cluster = Recorder.ask(core, .cluster, now)
            waitingBytes += Finally.metrics(Recorder.ask(core, .metrics(.init()), now))["hypha_waiting_bytes"] ?? 0
            vectors.append(look(cluster, node, nodes, at: time))
        }
        var heads: [String: Int] = [:]
        for vector in vectors { for (log, last) in vector ?? [:] { heads[log] = max(heads[log] ?? 0, last) } }
        let total = heads.values.reduce(0, +)
        let read = vectors.map { $0.map { $0.values.reduce(0, +) } }
        samples.append(
            Sample(
                at: time, missing: read.map { $0.map { total - $0 } }, read: read, waitingBytes: waitingBytes,
                traffic: cluster.traffic))
        if samples.count >= Recorder.mostSamples {
            samples = stride(from: 0, to: samples.count, by: 2).map { samples[$0] }
            stepUs *= 2
        }
        nextSample = (samples.last?.at ?? time) + stepUs
    }

    /// Notes what one node believes, and returns what it has read.
    private func look(_ body: [UInt8], _ node: Node, _ nodes: [Node], at time: UInt64) -> [String: Int] {
        guard let answer = try? JSONReader.parse(body), let own = answer["replica"]?.text,
            let opinions = try? Eventually.opinions(body)
        else { return [:] }
        if selves[node.index].life == node.life, selves[node.index].replica != own {
            note(.reborn(node.index), at: time)
        }
        selves[node.index] = (node.life, own)
        for other in nodes where other !== node && other.life > 0 {
            let current = opinions.first { $0.replica == other.replica.description }
            let isOutdated = current == nil && opinions.contains { $0.name == "n\(other.index)" && $0.state == "alive" }
            let belief = current.map { Belief($0.state) } ?? (isOutdated ? .outdated : .unknown)
            guard belief != beliefs[node.index][other.index], changes.count < Recorder.mostNotes else { continue }
            beliefs[node.index][other.index] = belief
            changes.append(Change(at: time, observer: node.index, about: other.index, belief: belief))
        }
        var read: [String: Int] = [:]
        for (log, last) in opinions.first(where: { $0.replica == own })?.read ?? [:] {
            read[log] = last.number.map { Int($0) } ?? 0
        }
        return read
    }

    /// Asks a copy of a node: the node itself never knows.
    private static func ask(_ core: NodeCore, _ request: Request, _ now: Instant) -> [UInt8] {
        var copy = core
        var effects = NodeCore.Effects()
        let nothing: [UInt8] = []
        copy.handle(.request(RequestID(.max), request), nothing.span.bytes, now: now, into: &effects)
        for effect in effects.list { if case .reply(_, _, let body) = effect { return Array(effects.bytes[body]) } }
        return []
    }
}
