/// What went over the wires of a light world, and what its peers believed, since it was last set to zero.
struct CostMeter {
    /// Datagrams sent and their payload, without headers.
    var datagrams = 0
    var datagramBytes = 0
    /// Datagrams the weather took.
    var lost = 0
    /// Frames written to links, and their bytes with the four of their length.
    var frames = 0
    var frameBytes = 0
    /// Frames with entries of logs among them, and their bytes.
    var factFrames = 0
    var factFrameBytes = 0
    /// Links opened.
    var links = 0
    /// Inputs that production code was given.
    var inputs = 0
    /// Beliefs that somebody who lives is dead: one for each peer that came to believe it.
    var falseBeliefs = 0
    /// Lives that somebody called dead although they went on: one for each (member, incarnation).
    var falseDeaths: Set<Claim> = []
    /// Lives that somebody suspected: one for each (member, incarnation).
    var suspicions: Set<Claim> = []
    /// The same of members that did live.
    var falseSuspicions: Set<Claim> = []
    /// Accusations that a member contradicted: one for each incarnation it took on.
    var refutations: Set<Claim> = []

    /// One incarnation of one member.
    struct Claim: Hashable {
        let replica: UInt64
        let counter: UInt32
    }
}
