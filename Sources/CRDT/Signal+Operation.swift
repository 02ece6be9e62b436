extension Signal {
    /// One operation and the strength right after it, in 32 bytes: there may be millions.
    struct Operation: Equatable, Sendable {
        /// Raw values go over the wire.
        enum Kind: UInt64, Sendable { case touch, reward, penalty }

        let stamp: HybridTimestamp
        /// What a reward adds or a penalty takes; any number at all, as the fold clamps.
        let amount: Double
        /// The kind in the two top bits and the strength's IEEE 754 bits below them, whose own two top bits (the sign,
        /// and the exponent's highest, set from 2 up) are zero in every strength there is.
        private var bits: UInt64

        var kind: Kind { Kind(rawValue: bits >> 62)! }

        /// Right after this operation: 0 (gone) or from 0.01 to 1. Derived from what came before; no part of identity.
        var strength: Double {
            get { Double(bitPattern: bits & ~(3 << 62)) }
            set {
                assert(newValue.bitPattern >> 62 == 0, "a strength is from 0 to 1, not \(newValue)")
                bits = bits & (3 << 62) | newValue.bitPattern
            }
        }

        init(_ kind: Kind, amount: Double, at stamp: HybridTimestamp) {
            self.stamp = stamp
            self.amount = amount
            bits = kind.rawValue << 62
        }

        init(_ operation: SignalOperation, at stamp: HybridTimestamp) {
            switch operation {
            case .touch: self.init(.touch, amount: 0, at: stamp)
            case .reward(let gain): self.init(.reward, amount: gain, at: stamp)
            case .penalty(let loss): self.init(.penalty, amount: loss, at: stamp)
            }
        }

        /// The seed's formulas: S right after this operation, given S right before it. Below 0.01 is gone, which is 0.
        func strength(after before: Double) -> Double {
            let isGone = before < Signal.vanishing
            let after: Double =
                switch kind {
                case .touch: isGone ? Signal.initialStrength : before
                case .reward: min(1, (isGone ? 0 : before) + amount)
                case .penalty: isGone ? 0 : max(0, before - amount)
                }
            return after >= Signal.vanishing ? after : 0
        }

        /// A stamp names one operation. Should a faulty peer have used one for two, all nodes keep the same one.
        func orders(before other: Self) -> Bool {
            (kind.rawValue, amount.bitPattern) < (other.kind.rawValue, other.amount.bitPattern)
        }

        static func == (a: Self, b: Self) -> Bool {
            a.stamp == b.stamp && a.kind == b.kind && a.amount.bitPattern == b.amount.bitPattern
        }

        /// What it adds to the hash of its minute; `key` says of which signal it is.
        func hash(key: UInt64) -> UInt64 {
            let what = XXH64.avalanche(amount.bitPattern &+ kind.rawValue &* XXH64.p1)
            return XXH64.avalanche(
                key ^ XXH64.avalanche(stamp.time ^ XXH64.avalanche(stamp.replica.rawValue ^ what)))
        }
    }
}
