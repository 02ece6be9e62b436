/// One stroke of bad luck. What lasts ends by itself: a killed machine starts again, a burst passes, a link recovers.
///
/// A fault that does not fit the moment (the machine is down already, nobody else would be left) does nothing: so a
/// list of faults stays playable whatever is taken out of it.
enum Fault: Equatable, Sendable {
    /// These machines and all others do not hear each other; in place of all cuts before.
    case partition([Int])
    /// One machine is no longer heard by another, beside what is cut already.
    case oneWay(from: Int, to: Int)
    /// Only `over` hears everybody: `side` and the rest do not hear each other. In place of all cuts before.
    case bridge(over: Int, side: [Int])
    /// Everybody hears everybody again.
    case heal
    /// kill -9; the machine starts its node again after so long: empty, or with all that it had written to its disk.
    case crash(Int, downMs: UInt64)
    /// These machines lose power together, and what their disks had not synced; they start again after so long.
    case power([Int], downMs: UInt64)
    /// Something happens to a machine's disk; nothing where it has none.
    case disk(Int, DiskFault)
    /// The process stands still for so long, then gets everything at once.
    case pause(Int, ms: UInt64)
    /// The node leaves in good order and is started again so long after.
    case leave(Int, awayMs: UInt64)
    /// A machine starts its first node only now.
    case join(Int)
    /// A machine's wall clock jumps. A node that runs must not notice; one that starts later starts with it.
    case step(Int, byMs: Int64)
    /// A machine's monotonic clock runs fast or slow by so much from now on.
    case drift(Int, ppm: Int64)
    /// Loss, jitter and duplication are at least this bad for a while.
    case burst(Burst, ms: UInt64)
    /// What goes between two machines takes so many times as long for a while.
    case slowLink(Int, Int, times: UInt64, ms: UInt64)
    /// A second process starts on the machine `on` under the replica id and epoch of the one on `of`, with a nonce of
    /// its own: a copied data directory.
    case clone(of: Int, on: Int)
}

/// A while of worse weather.
struct Burst: Equatable, Sendable {
    var lossRate: Double
    var duplicateRate: Double
    var jitterUs: UInt64
}

/// A fault and when it strikes.
struct TimedFault: Equatable, Sendable {
    /// Milliseconds since the agents began.
    var atMs: UInt64
    var fault: Fault
}

extension Fault {
    /// The same without one machine; those above it move down by one. Nil when nothing is left of the fault.
    func without(_ gone: Int) -> Fault? {
        func moved(_ node: Int) -> Int? { node == gone ? nil : node > gone ? node - 1 : node }
        func both(_ a: Int, _ b: Int, _ make: (Int, Int) -> Fault) -> Fault? {
            guard let a = moved(a), let b = moved(b) else { return nil }
            return make(a, b)
        }
        switch self {
        case .partition(let side):
            let rest = side.compactMap(moved)
            return rest.isEmpty ? nil : .partition(rest)
        case .bridge(let over, let side):
            let rest = side.compactMap(moved)
            guard !rest.isEmpty else { return nil }
            return moved(over).map { .bridge(over: $0, side: rest) } ?? .partition(rest)
        case .oneWay(let from, let to): return both(from, to) { .oneWay(from: $0, to: $1) }
        case .heal, .burst: return self
        case .crash(let node, let downMs): return moved(node).map { .crash($0, downMs: downMs) }
        case .power(let nodes, let downMs):
            let rest = nodes.compactMap(moved)
            return rest.isEmpty ? nil : .power(rest, downMs: downMs)
        case .disk(let node, let fault): return moved(node).map { .disk($0, fault) }
        case .pause(let node, let ms): return moved(node).map { .pause($0, ms: ms) }
        case .leave(let node, let awayMs): return moved(node).map { .leave($0, awayMs: awayMs) }
        case .join(let node): return moved(node).map { .join($0) }
        case .step(let node, let byMs): return moved(node).map { .step($0, byMs: byMs) }
        case .drift(let node, let ppm): return moved(node).map { .drift($0, ppm: ppm) }
        case .slowLink(let a, let b, let times, let ms):
            return both(a, b) { .slowLink($0, $1, times: times, ms: ms) }
        case .clone(let of, let on): return both(of, on) { .clone(of: $0, on: $1) }
        }
    }

    /// The same for half as long; nil for what has no duration, or hardly any.
    var shorter: Fault? {
        func half(_ ms: UInt64, _ make: (UInt64) -> Fault) -> Fault? { ms >= 200 ? make(ms / 2) : nil }
        switch self {
        case .crash(let node, let downMs): return half(downMs) { .crash(node, downMs: $0) }
        case .power(let nodes, let downMs): return half(downMs) { .power(nodes, downMs: $0) }
        case .disk(let node, let fault): return fault.shorter.map { .disk(node, $0) }
        case .pause(let node, let ms): return half(ms) { .pause(node, ms: $0) }
        case .leave(let node, let awayMs): return half(awayMs) { .leave(node, awayMs: $0) }
        case .burst(let burst, let ms): return half(ms) { .burst(burst, ms: $0) }
        case .slowLink(let a, let b, let times, let ms): return half(ms) { .slowLink(a, b, times: times, ms: $0) }
        case .partition, .oneWay, .bridge, .heal, .join, .step, .drift, .clone: return nil
        }
    }

    /// One sentence for people.
    var story: String {
        func list(_ nodes: [Int]) -> String { nodes.map { "n\($0)" }.joined(separator: ", ") }
        func seconds(_ ms: UInt64) -> String { Double(ms) / 1_000 == 0 ? "0 s" : "\(Double(ms) / 1_000) s" }
        func signed(_ number: Int64) -> String { number < 0 ? "\(number)" : "+\(number)" }
        switch self {
        case .partition(let side): return "the network splits: \(list(side)) and the others do not hear each other"
        case .oneWay(let from, let to): return "n\(to) no longer hears n\(from)"
        case .bridge(let over, let side):
            return "only n\(over) hears everybody: \(list(side)) and the others do not hear each other"
        case .heal: return "the network heals"
        case .crash(let node, let downMs): return "n\(node) is killed, and starts again after \(seconds(downMs))"
        case .power(let nodes, let downMs):
            return "power is lost at \(list(nodes)), and returns after \(seconds(downMs))"
        case .disk(let node, let fault): return fault.story(node)
        case .pause(let node, let ms): return "n\(node) is stopped for \(seconds(ms))"
        case .leave(let node, let awayMs):
            return "n\(node) leaves in good order, and starts again after \(seconds(awayMs))"
        case .join(let node): return "n\(node) joins for the first time"
        case .step(let node, let byMs): return "the wall clock of n\(node) jumps by \(signed(byMs)) ms"
        case .drift(let node, let ppm): return "the clock of n\(node) runs \(signed(ppm)) ppm fast from now on"
        case .burst(let burst, let ms):
            return "bad weather for \(seconds(ms)): loss \(burst.lossRate), duplicates \(burst.duplicateRate), "
                + "jitter \(burst.jitterUs) µs"
        case .slowLink(let a, let b, let times, let ms):
            return "the link between n\(a) and n\(b) is \(times) times as slow for \(seconds(ms))"
        case .clone(let of, let on): return "n\(on) runs a copy of n\(of), under the same replica id"
        }
    }
}
