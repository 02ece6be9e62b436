import CRDT

@testable import Gossip

/// A few whole `Cluster` values on a network that loses nothing: each frame waits until the test delivers it, so that
/// every order of delivery can be walked. A value, so that a story can be told to different ends from the same point.
struct LinkWorld {
    private struct Parcel {
        let link: LinkID
        let from: Int
        let to: Int
        let bytes: [UInt8]
    }

    private struct Link {
        let id: LinkID
        let ends: [Int]
    }

    private(set) var clusters: [Cluster] = []
    /// What each node's owner holds: everything that was ever applied, or came in a snapshot.
    private(set) var states: [Set<String>] = []
    /// What each node was told to start anew for.
    private(set) var resets: [[Reset]] = []
    /// How often each node was asked to compare its state with a peer's.
    private(set) var comparisons: [Int] = []
    /// What each node logged.
    private(set) var lines: [[(severity: Severity, text: String)]] = []
    /// Dials are carried out, and datagrams arrive.
    var hasNetwork = false
    /// Nodes between which and the others nothing passes.
    private var cutOff: Set<Int> = []
    /// Processes that have ended: nothing reaches them, and they do nothing.
    var isDown: Set<Int> = []
    /// What is written to a link stays in the transport until `drain`.
    var holdsDrains = false
    private(set) var now = Instant(milliseconds: Self.startedAtMs)
    private var wallMs: [UInt64] = []
    private var wakes: [Instant] = []
    private var parcels: [Parcel] = []
    private var inputs: [(to: Int, input: Cluster.Input, bytes: [UInt8])] = []
    private var links: [Link] = []
    private var nextLink: UInt64 = 1
    private let profile: Profile
    /// What is still to be sent of each snapshot, by its sender and link.
    private var outgoing: [[LinkID: [String]]] = []

    /// Nodes with the replica ids 1, 2, 3…, of which none is linked yet.
    init(_ size: Int, profile: Profile = .lan, replication: Replication.Settings = .init()) {
        self.profile = profile
        for i in 0..<size { add(ReplicaID(UInt64(i + 1)), replication: replication) }
    }

    /// One more node; its wall clock is `aheadMs` ahead of the others'.
    mutating func add(
        _ replica: ReplicaID, aheadMs: UInt64 = 0, isDurable: Bool = false, replication: Replication.Settings = .init(),
        limits: Membership.Limits = .init(), protocols: Versions = Frame.protocols
    ) {
        let i = clusters.count
        wallMs.append(Self.startMs + aheadMs)
        clusters.append(
            start(
                i, as: replica, isDurable: isDurable, replication: replication, limits: limits, protocols: protocols))
        states.append([])
        resets.append([])
        comparisons.append(0)
        lines.append([])
        wakes.append(now)
        outgoing.append([:])
    }

    /// The process ends, and another one without anything takes its place and address.
    mutating func restart(
        _ i: Int, as replica: ReplicaID, isDurable: Bool = false, replication: Replication.Settings = .init()
    ) {
        for other in clusters.indices where other != i { disconnect(i, other) }
        inputs.removeAll { $0.to == i }
        let elapsed = now.milliseconds - Self.startedAtMs
        clusters[i] = start(
            i, as: replica, isDurable: isDurable, wallMs: wallMs[i] + elapsed, replication: replication,
            limits: .init())
        (states[i], outgoing[i], wakes[i]) = ([], [:], now)
        isDown.remove(i)
    }

    private func start(
        _ i: Int, as replica: ReplicaID, isDurable: Bool, wallMs: UInt64? = nil, replication: Replication.Settings,
        limits: Membership.Limits, protocols: Versions = Frame.protocols
    ) -> Cluster {
        let me = Member(
            replica: replica, name: "n\(i)", gossip: Self.address(i), incarnation: Incarnation(epoch: 1),
            isDurable: isDurable, nonce: UInt64(i) + 100, protocols: protocols)
        return Cluster(
            Cluster.Settings(
                me: me, name: "test", seeds: hasNetwork ? [Self.address(0)] : [], profile: profile,
                replication: replication, limits: limits),
            wallMs: wallMs ?? self.wallMs[i], now: now, dice: Dice(seed: replica.rawValue))
    }

    /// Milliseconds since the Unix epoch on an exact clock, when a test begins.
    static let startMs: UInt64 = 1_740_000_000_000
    private static let startedAtMs: UInt64 = 1_000_000

    static func address(_ i: Int) -> Address { Address(ipv4: 0x0a00_0001 + UInt32(i), port: 7946) }

    // MARK: - Links and time

    /// Links every pair, and lets everything arrive.
    mutating func linkAll() {
        for a in clusters.indices { for b in clusters.indices where a < b { connect(a, b) } }
        settle()
    }

    @discardableResult
    mutating func connect(_ dialler: Int, _ other: Int) -> LinkID {
        let id = LinkID(nextLink)
        nextLink += 1
        links.append(Link(id: id, ends: [dialler, other]))
        give(.linkOpened(id, dialled: Self.address(other)), to: dialler)
        give(.linkOpened(id, dialled: nil), to: other)
        return id
    }

    /// The cable is pulled: what was on its way is lost.
    mutating func disconnect(_ a: Int, _ b: Int) {
        for link in links where link.ends.contains(a) && link.ends.contains(b) { close(link.id, noticedBy: [a, b]) }
    }

    /// Cuts everything between these nodes and the others; what was cut before is whole again.
    mutating func partition(_ side: Set<Int>) {
        cutOff = side
        for a in side { for b in clusters.indices where !side.contains(b) { disconnect(a, b) } }
    }

    private func isCut(_ a: Int, _ b: Int) -> Bool { cutOff.contains(a) != cutOff.contains(b) }

    func linkID(_ a: Int, _ b: Int) -> LinkID? { clusters[a].mesh.link(to: clusters[b].log.me) }
    func isLinked(_ a: Int, _ b: Int) -> Bool { clusters[a].mesh.link(to: clusters[b].log.me) != nil }

    private mutating func close(_ id: LinkID, noticedBy nodes: [Int]) {
        links.removeAll { $0.id == id }
        parcels.removeAll { $0.link == id }
        for i in nodes { give(.linkClosed(id), to: i) }
    }

    /// Lets everything arrive, and all that this causes.
    mutating func settle() {
        while true {
            if !inputs.isEmpty {
                let next = inputs.removeFirst()
                give(next.input, next.bytes, to: next.to)
            } else if let first = parcels.first {
                deliver(first.from, first.to)
            } else {
                return
            }
        }
    }

    /// Time passes; whatever is sent arrives at once.
    mutating func run(milliseconds: UInt64) {
        let end = now.advanced(milliseconds: milliseconds)
        settle()
        while let next = wakes.indices.filter({ !isDown.contains($0) }).min(by: { wakes[$0] < wakes[$1] }),
            wakes[next] <= end
        {
            now = max(now, wakes[next])
            wakes[next] = end.advanced(milliseconds: 3_600_000)
            give(.tick, to: next)
            settle()
        }
        now = end
    }

    /// Delivers the oldest frame on its way from one node to another, if there is one.
    @discardableResult
    mutating func deliver(_ from: Int, _ to: Int) -> Bool {
        guard let at = parcels.firstIndex(where: { $0.from == from && $0.to == to }) else { return false }
        let parcel = parcels.remove(at: at)
        give(.linkFrame(parcel.link), parcel.bytes, to: to)
        return true
    }

    /// The frames on their way from one node to another.
    func frames(_ from: Int, _ to: Int) -> [[UInt8]] {
        parcels.filter { $0.from == from && $0.to == to }.map(\.bytes)
    }

    /// What this node wrote to its links has left.
    mutating func drain(_ i: Int) {
        for link in links where link.ends.contains(i) { give(.linkDrained(link.id), to: i) }
    }

    // MARK: - Doing

    /// The node writes a fact that says this.
    @discardableResult
    mutating func write(_ i: Int, _ text: String) -> Int { write(i, Array(text.utf8)) }

    @discardableResult
    mutating func write(_ i: Int, _ body: [UInt8]) -> Int {
        var (effects, out) = ([Cluster.Effect](), [UInt8]())
        let time = clusters[i].nextStamp(now: now).time
        let position = clusters[i].write(
            .sempEvent, time: time, body: body.span.bytes, now: now, into: &effects, &out)
        absorb(i, from: position)
        carryOut(effects, out, from: i)
        return position
    }

    /// What is everywhere may go: returns up to which packed time, where that is news.
    mutating func collect(_ i: Int, _ purpose: Replication.Purpose) -> UInt64? {
        clusters[i].collectable(purpose, now: now)
    }

    /// The node waits for what is at its peers.
    mutating func ask(_ i: Int, for place: VersionVector, durableOnly: Bool) {
        var (effects, out) = ([Cluster.Effect](), [UInt8]())
        clusters[i].ask(for: place, durableOnly: durableOnly, now: now, into: &effects, &out)
        carryOut(effects, out, from: i)
    }

    mutating func stopAsking(_ i: Int) { clusters[i].stopAsking() }

    mutating func give(_ input: Cluster.Input, _ bytes: [UInt8] = [], to i: Int) {
        guard !isDown.contains(i) else { return }
        var (effects, out) = ([Cluster.Effect](), [UInt8]())
        let before = clusters[i].log.end
        clusters[i].handle(input, bytes.span.bytes, now: now, into: &effects, &out)
        absorb(i, from: before)
        carryOut(effects, out, from: i, bytes)
    }

    private mutating func absorb(_ i: Int, from before: Int) {
        for position in max(before, clusters[i].log.start)..<clusters[i].log.end
        where clusters[i].log.holds(position) {
            clusters[i].observe(clusters[i].log.record(at: position).time)
            if let text = text(i, position) { states[i].insert(text) }
        }
    }

    private mutating func carryOut(
        _ effects: [Cluster.Effect], _ out: [UInt8], from i: Int, _ bytes: [UInt8] = []
    ) {
        for effect in effects {
            switch effect {
            case .datagram(let to, let range):
                guard hasNetwork, let target = clusters.indices.first(where: { Self.address($0) == to }),
                    !isCut(i, target)
                else { break }
                inputs.append((target, .datagram(from: Self.address(i)), Array(out[range])))
            case .dial(let address):
                guard hasNetwork else { break }
                if let target = clusters.indices.first(where: {
                    Self.address($0) == address && !isDown.contains($0) && !isCut(i, $0)
                }) {
                    connect(i, target)
                } else {
                    inputs.append((i, .dialFailed(address), []))
                }
            case .write(let id, let range):
                guard let link = links.first(where: { $0.id == id }), let other = link.ends.first(where: { $0 != i })
                else { break }
                parcels.append(Parcel(link: id, from: i, to: other, bytes: Array(out[range])))
                if !holdsDrains { inputs.append((i, .linkDrained(id), [])) }
            case .hangUp(let id, let flush):
                guard let link = links.first(where: { $0.id == id }) else { break }
                if flush {
                    for other in link.ends where other != i { while deliver(i, other) {} }
                }
                close(id, noticedBy: link.ends.filter { $0 != i })
            case .wake(let at): wakes[i] = at
            case .log(let severity, let text): lines[i].append((severity, text))
            case .snapshotBegins(let id): outgoing[i][id] = states[i].sorted()
            case .chunkDue(let id): sendChunk(i, id)
            case .snapshotEnded(let id): outgoing[i][id] = nil
            case .state(_, let type, let range) where type == .snapshot:
                states[i].formUnion(
                    String(decoding: bytes[range], as: UTF8.self).split(separator: "\n").map(String.init))
            case .compare: comparisons[i] += 1
            case .reset(let reset):
                // Its owner ends it and begins another; here it is just gone.
                resets[i].append(reset)
                isDown.insert(i)
                for link in links where link.ends.contains(i) {
                    close(link.id, noticedBy: link.ends.filter { $0 != i })
                }
                return
            case .state, .adopted, .caughtUp, .gaveUp, .linkLost, .linked, .unlinked, .frame, .left: break
            }
        }
    }

    /// A few lines of the state at a time, then the heads.
    private mutating func sendChunk(_ i: Int, _ id: LinkID) {
        guard let rest = outgoing[i][id] else { return }
        var (effects, out) = ([Cluster.Effect](), [UInt8]())
        if rest.isEmpty {
            clusters[i].finishSnapshot(id, now: now, into: &effects, &out)
        } else {
            outgoing[i][id] = Array(rest.dropFirst(Self.chunkLines))
            clusters[i].sendState(.snapshot, on: id, now: now, into: &effects, &out) {
                $0 += Array(rest.prefix(Self.chunkLines).joined(separator: "\n").utf8)
            }
        }
        carryOut(effects, out, from: i)
    }

    private static let chunkLines = 16

    // MARK: - Looking

    /// What a node applied and still holds, in its order.
    func texts(_ i: Int) -> [String] {
        (clusters[i].log.start..<clusters[i].log.end).compactMap { text(i, $0) }
    }

    /// What an event says; nil for what is none, or is not held.
    private func text(_ i: Int, _ position: Int) -> String? {
        guard clusters[i].log.holds(position) else { return nil }
        return clusters[i].log.read(position) { entry in
            guard let fact = try? Fact(entry), fact.kind == .sempEvent else { return nil }
            return entry.extracting(fact.body).withUnsafeBytes { String(decoding: $0.prefix(40), as: UTF8.self) }
        }
    }

    /// Everything that a node applied before what its origin had read, in words.
    func effectsBeforeCauses(_ i: Int) -> [String] {
        let log = clusters[i].log
        var read: [ReplicaID: UInt64] = [:]
        for slot in 0..<log.slotCount { read[log.replica(in: slot)] = log.floor(of: slot) - 1 }
        var found: [String] = []
        for position in log.start..<log.end where log.holds(position) {
            let record = log.record(at: position)
            let replica = log.replica(in: Int(record.slot))
            log.read(position) { entry in
                guard let fact = try? Fact(entry) else { return found.append("unreadable entry at \(position)") }
                var cursor = ByteCursor(fact.dependencies)
                for _ in 0..<fact.dependencyCount {
                    guard let cause = try? cursor.replica(entry), let sequence = try? cursor.varint(entry) else {
                        return
                    }
                    if read[cause, default: 0] < sequence {
                        found.append("\(replica)/\(record.sequence) before \(cause)/\(sequence)")
                    }
                }
            }
            if read[replica, default: 0] + 1 != record.sequence {
                found.append("\(replica)/\(record.sequence) out of turn")
            }
            read[replica] = record.sequence
        }
        return found
    }

    /// Whether all nodes have read the same, with the same running hashes.
    var agrees: Bool {
        func state(_ log: FactLog) -> [ReplicaID: [UInt64]] {
            Dictionary(
                uniqueKeysWithValues: log.vector.entries.map { entry in
                    (entry.replica, [entry.sequence, log.hash(of: log.knownSlot(of: entry.replica)!)])
                })
        }
        return clusters.allSatisfy {
            state($0.log) == state(clusters[0].log) && $0.log.digest == clusters[0].log.digest
        }
    }
}

extension Replication.Counters {
    /// What must stay zero among honest peers.
    var faults: Int { badFrames + malformed + forks }
}
