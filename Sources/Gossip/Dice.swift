/// Chance as a value: the same seed rolls the same numbers, in the node and in the simulator.
///
/// xoshiro256** (Blackman, Vigna: "Scrambled Linear Pseudorandom Number Generators", ACM TOMS 2021), its state
/// filled by SplitMix64 as the authors advise. Not for secrets.
public struct Dice: RandomNumberGenerator, Sendable {
    private var s0: UInt64
    private var s1: UInt64
    private var s2: UInt64
    private var s3: UInt64

    /// Dice that roll a sequence determined by `seed`.
    public init(seed: UInt64) { self.init(seed: (seed, 0, 0, 0)) }

    /// Dice with 256 bits of seed, for ids that must not collide between machines.
    public init(seed: (UInt64, UInt64, UInt64, UInt64)) {
        var mix: UInt64 = 0
        func split(_ word: UInt64) -> UInt64 {
            mix = mix &+ 0x9e37_79b9_7f4a_7c15 ^ word
            var z = mix
            z = (z ^ z >> 30) &* 0xbf58_476d_1ce4_e5b9
            z = (z ^ z >> 27) &* 0x94d0_49bb_1331_11eb
            return z ^ z >> 31
        }
        s0 = split(seed.0)
        s1 = split(seed.1)
        s2 = split(seed.2)
        s3 = split(seed.3)
    }

    /// The next 64 random bits.
    public mutating func next() -> UInt64 {
        let product = s1 &* 5
        let result = (product << 7 | product >> 57) &* 9
        let t = s1 << 17
        s2 ^= s0
        s3 ^= s1
        s1 ^= s2
        s0 ^= s3
        s2 ^= t
        s3 = s3 << 45 | s3 >> 19
        return result
    }

    /// A number below `bound`, which must be above zero.
    public mutating func below(_ bound: UInt64) -> UInt64 { next(upperBound: bound) }
}
