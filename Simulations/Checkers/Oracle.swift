/// One broker in one process that has all the events: the seed's formulas, folded in the order of the stamps.
///
/// Written apart from `CRDT.Signal` on purpose: it reads the stored events as JSON and knows DESIGN.md, section 3,
/// and nothing else.
struct Oracle {
    struct Key: Hashable, Comparable, Sendable {
        let scope: String
        let pattern: String
        static func < (a: Key, b: Key) -> Bool { (a.scope, a.pattern) < (b.scope, b.pattern) }
    }

    /// One signal as it should read.
    struct Reading: Equatable, Sendable {
        var strength: Double
        /// Milliseconds of the stamp of the last operation that touched it.
        var updatedMs: UInt64
    }

    private struct Operation {
        let stamp: String
        let ms: UInt64
        let type: String
        let value: Double
        let alpha: Double
    }

    private var operations: [Key: [Operation]] = [:]

    /// An oracle that knows these events, as a node lists them.
    init(_ events: [JSON]) throws(Violation) {
        for event in events {
            guard let stamp = event["stamp"]?.text, let ms = UInt64(stamp.prefix(12), radix: 16),
                let type = event["type"]?.text, let scope = event["scope"]?.text, let payload = event["payload"],
                let signals = event["signals"]?.array
            else { throw Violation("a listed event has all its fields", "\(event)") }
            let operation = Operation(
                stamp: stamp, ms: ms, type: type, value: payload["value"]?.number ?? 0,
                alpha: (payload["α"] ?? payload["alpha"])?.number ?? 1.2)
            for pattern in signals {
                operations[Key(scope: scope, pattern: pattern.text ?? ""), default: []].append(operation)
            }
        }
        for key in operations.keys { operations[key]!.sort { $0.stamp < $1.stamp } }
    }

    /// Every signal there is at `at` (milliseconds since the Unix epoch): what was stamped later has not happened.
    func readings(at: UInt64, decay: Double) -> [Key: Reading] {
        var readings: [Key: Reading] = [:]
        for (key, operations) in operations {
            var strength: Double?
            var tick: UInt64 = 0
            func age(to ms: UInt64) {
                let target = ms / 60_000
                while tick < target, let current = strength {
                    strength = current * decay >= 0.01 ? current * decay : nil
                    tick += 1
                }
                tick = target
            }
            var updated: UInt64 = 0
            for operation in operations where operation.ms <= at {
                age(to: operation.ms)
                switch operation.type {
                case "reward": strength = min(1, (strength ?? 0) + operation.value * operation.alpha)
                case "penalty": strength = strength.map { max(0, $0 - abs(operation.value)) }
                default: strength = strength ?? 0.3
                }
                if let current = strength, current < 0.01 { strength = nil }
                updated = operation.ms
            }
            if at / 60_000 > tick { age(to: at) }
            if let strength { readings[key] = Reading(strength: strength, updatedMs: updated) }
        }
        return readings
    }

    /// Compares what a node answered to `GET /api/signals?at=` with what it should have; the first difference.
    func difference(from answer: [JSON], at: UInt64, decay: Double) -> String? {
        let expected = readings(at: at, decay: decay)
        var seen: Set<Key> = []
        for signal in answer {
            guard let scope = signal["scope"]?.text, let pattern = signal["pattern"]?.text,
                let strength = signal["strength"]?.number
            else { return "a signal lacks a field: \(signal)" }
            let key = Key(scope: scope, pattern: pattern)
            if !seen.insert(key).inserted { return "\(scope)/\(pattern) is listed twice" }
            guard let reading = expected[key] else { return "\(scope)/\(pattern) should be gone, reads \(strength)" }
            if reading.strength.bitPattern != strength.bitPattern {
                return "\(scope)/\(pattern) should read \(reading.strength), reads \(strength)"
            }
        }
        guard let missing = expected.keys.filter({ !seen.contains($0) }).min() else { return nil }
        return "\(missing.scope)/\(missing.pattern) should read \(expected[missing]!.strength) and is not listed"
    }
}
