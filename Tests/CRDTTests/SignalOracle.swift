@testable import CRDT

/// One operation of a history, with its stamp.
struct SignalStep {
    let operation: SignalOperation
    let stamp: HybridTimestamp

    init(_ operation: SignalOperation, _ stamp: HybridTimestamp) {
        self.operation = operation
        self.stamp = stamp
    }
}

/// What one broker would compute: the seed's formulas, one step after the other, nothing remembered but the value.
/// Written from DESIGN.md, section 3, and not from the code under test.
func brokerReading(_ history: [SignalStep], atMs: UInt64, lambda: Double) -> Signal.Reading? {
    var strength: Double?
    var at: UInt64 = 0
    func pass(until ms: UInt64) {
        guard var s = strength else { return }
        for _ in (at / 60_000)..<(ms / 60_000) {
            s *= lambda
            if s < 0.01 { return strength = nil }
        }
        strength = s
    }
    for step in history.sorted(by: { $0.stamp < $1.stamp }) where step.stamp.milliseconds <= atMs {
        pass(until: step.stamp.milliseconds)
        switch step.operation {
        case .touch: strength = strength ?? 0.3
        case .reward(let gain): strength = min(1, (strength ?? 0) + gain)
        case .penalty(let loss): strength = strength.map { max(0, $0 - loss) }
        }
        if let s = strength, s < 0.01 { strength = nil }
        at = step.stamp.milliseconds
    }
    pass(until: atMs)
    return strength.map { Signal.Reading(strength: $0, lastUpdatedMs: at) }
}

/// The bits of a reading: what "the same to the last digit" means.
func bits(_ reading: Signal.Reading?) -> [UInt64] {
    reading.map { [$0.strength.bitPattern, $0.lastUpdatedMs] } ?? []
}

func signal(_ history: [SignalStep], lambda: Double = Signal.defaultLambda) -> Signal {
    var signal = Signal(lambda: lambda)
    for step in history { signal.insert(step.operation, at: step.stamp) }
    return signal
}
