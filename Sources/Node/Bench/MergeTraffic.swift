internal import CRDT
internal import Gossip
internal import NodeCore

/// What one node was sent, to be sent to others just so.
struct Traffic {
    /// All frames, one after the other.
    var bytes: [UInt8] = []
    /// The link on which each came, and where it ends in `bytes`.
    var frames: [(link: LinkID, end: Int)] = []
    /// How many of them bring links and documents into being; the others are measured.
    var filled = 0
}

/// The moment at which everything happens, and the wall clock then: time plays no part here.
private let moment = Instant(milliseconds: 1_000)
private let wallMs: UInt64 = 1_740_000_000_000
/// Nothing may be dropped from a log that is read again.
private let logBytes = 8 << 30

/// Every node has an address of its own, though nobody sends anything there.
private func address(_ i: Int) -> Address { Address(ipv4: 0x7f00_0001 + UInt32(i), port: 7_946) }

/// The node that is measured.
struct MergeReader {
    private var node: NodeCore
    private var effects = NodeCore.Effects()
    private var links: Set<LinkID> = []

    init() {
        let settings = NodeSettings(
            name: "reader", replica: ReplicaID(0xf), advertise: address(3),
            replication: .init(retention: .init(bytes: logBytes)))
        node = NodeCore(settings, wallMilliseconds: wallMs, now: moment, dice: Dice(seed: 1))
    }

    /// Takes one frame in, from a peer that dialled for the first frame of a link. What the node wrote is in `written`
    /// until the next.
    @inline(__always) mutating func take(_ frame: RawSpan, on link: LinkID) {
        effects.removeAll()
        if links.insert(link).inserted { handle(.linkOpened(link, remote: address(0), dialled: nil), RawSpan()) }
        handle(.linkFrame(link), frame)
    }

    mutating func take(_ traffic: borrowing Traffic, frames: Range<Int>) {
        var start = frames.lowerBound == 0 ? 0 : traffic.frames[frames.lowerBound - 1].end
        for frame in frames {
            let (link, end) = traffic.frames[frame]
            take(traffic.bytes.span.bytes.extracting(start..<end), on: link)
            start = end
        }
    }

    private mutating func handle(_ input: NodeCore.Input, _ bytes: RawSpan) {
        node.handle(input, bytes, now: moment, into: &effects)
    }

    /// The frames written during the last `take`.
    var written: [(link: LinkID, frame: [UInt8])] {
        effects.list.compactMap { effect in
            if case .write(let link, let range) = effect { (link, Array(effects.bytes[range])) } else { nil }
        }
    }

    /// How many entries of others were applied, by the node's own metrics.
    mutating func appliedEntries() -> Int {
        effects.removeAll()
        handle(.request(RequestID(1), .metrics(ShellMetrics())), RawSpan())
        let lines = String(decoding: effects.bytes, as: UTF8.self).split(separator: "\n")
        let name = "hypha_replicated_total "
        return lines.first { $0.hasPrefix(name) }.flatMap { Int($0.dropFirst(name.count)) } ?? 0
    }
}

/// Three nodes that write, and one that reads while what it is sent is recorded.
struct MergeWriters {
    private var clusters: [Cluster] = []
    private var reader = MergeReader()
    private var effects: [Cluster.Effect] = []
    private var out: [UInt8] = []
    private var dice = Dice(seed: 7)
    private var lastTime: UInt64 = 0
    /// Who is at the ends of a link: writers 0 to 2, or the reader.
    private var ends: [LinkID: (dialler: Int, other: Int)] = [:]
    private var parcels: [(to: Int, link: LinkID, frame: [UInt8])] = []
    private var traffic = Traffic()

    private static let reader = 3
    private static let fields = ["status", "holder", "deadline", "progress"]
    /// Writers read each other's entries after so many of all three: some entries depend on others, some on nothing
    /// new, as where writing is faster than the network.
    private static let entriesBetweenReads = 16

    /// What a node is sent for these options: live frames of one entry each from all writers, or repairs by the first.
    static func traffic(_ options: BenchMergeOptions) -> Traffic {
        var writers = MergeWriters()
        if options.push { for i in 0..<3 { writers.connect(i, reader) } }
        for number in 0..<options.documents {
            writers.write(number, [.create] + fields.map { .set(field: $0, value: value(UInt64(number))) })
        }
        writers.deliver()
        if !options.push { writers.connect(0, reader) }
        writers.traffic.filled = writers.traffic.frames.count
        if !options.push { writers.disconnect() }
        for _ in 0..<options.facts {
            let (a, b) = (writers.dice.next(), writers.dice.next())
            let field = fields[Int(a >> 32) % fields.count]
            writers.write(Int(a % UInt64(options.documents)), [.set(field: field, value: value(b))])
        }
        writers.deliver()
        if !options.push { writers.connect(0, reader) }
        return writers.traffic
    }

    /// 16 bytes.
    private static func value(_ number: UInt64) -> [UInt8] {
        (0..<16).map { UInt8(ascii: "a") + UInt8(number >> ($0 * 4) & 15) }
    }

    private init() {
        for i in 0..<3 {
            let me = Member(
                replica: ReplicaID(UInt64(i + 1) << 40), name: "writer\(i)", gossip: address(i),
                incarnation: Incarnation(epoch: 1), nonce: UInt64(i))
            // The first repairs the reader; the others only need what they have not sent yet.
            let settings = Cluster.Settings(
                me: me, name: "hypha", seeds: [], profile: .lan,
                replication: .init(retention: .init(bytes: i == 0 ? logBytes : 16 << 20)))
            clusters.append(Cluster(settings, wallMs: wallMs, now: moment, dice: Dice(seed: UInt64(i) + 2)))
        }
        for (a, b) in [(0, 1), (0, 2), (1, 2)] { connect(a, b) }
    }

    private mutating func write(_ document: Int, _ changes: [DocumentMap.Change]) {
        var body: [UInt8] = []
        DocumentMap.encode("agent/\(document)", changes, into: &body)
        let i = Int(dice.next() % 3)
        clusters[i].observe(lastTime)
        lastTime = clusters[i].nextStamp(now: moment).time
        let put = body
        _ = clusters[i].write(.put, time: lastTime, body: put.span.bytes, now: moment, into: &effects, &out)
        carryOut(i)
        if parcels.count >= Self.entriesBetweenReads * clusters.count { deliver() }
    }

    private mutating func connect(_ dialler: Int, _ other: Int) {
        let link = LinkID(UInt64(ends.count) + 1)
        ends[link] = (dialler, other)
        give(dialler, .linkOpened(link, dialled: address(other)), [])
        if other != Self.reader { give(other, .linkOpened(link, dialled: nil), []) }
        deliver()
    }

    /// The reader loses its link to the first writer.
    private mutating func disconnect() {
        for (link, end) in ends where end.other == Self.reader { give(end.dialler, .linkClosed(link), []) }
    }

    private mutating func deliver() {
        while !parcels.isEmpty {
            let batch = parcels
            parcels.removeAll(keepingCapacity: true)
            for parcel in batch {
                guard parcel.to == Self.reader else {
                    give(parcel.to, .linkFrame(parcel.link), parcel.frame)
                    continue
                }
                traffic.bytes.append(contentsOf: parcel.frame)
                traffic.frames.append((parcel.link, traffic.bytes.count))
                reader.take(parcel.frame.span.bytes, on: parcel.link)
                for (link, frame) in reader.written {
                    guard let end = ends[link] else { continue }
                    parcels.append((end.dialler, link, frame))
                }
            }
        }
    }

    private mutating func give(_ i: Int, _ input: Cluster.Input, _ bytes: [UInt8]) {
        clusters[i].handle(input, bytes.span.bytes, now: moment, into: &effects, &out)
        carryOut(i)
    }

    /// Puts what a writer wrote on its way, and tells it so.
    private mutating func carryOut(_ i: Int) {
        var drained: [LinkID] = []
        for effect in effects {
            guard case .write(let link, let range) = effect, let end = ends[link] else { continue }
            parcels.append((end.dialler == i ? end.other : end.dialler, link, Array(out[range])))
            drained.append(link)
        }
        effects.removeAll(keepingCapacity: true)
        out.removeAll(keepingCapacity: true)
        for link in drained { clusters[i].handle(.linkDrained(link), RawSpan(), now: moment, into: &effects, &out) }
        if !effects.isEmpty { carryOut(i) }
    }
}
