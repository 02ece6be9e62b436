public import CRDT

/// Which life of a member a claim is about: `epoch` counts the starts of its log, `counter` its refutations since.
///
/// Only the member itself raises either, so a claim with a higher incarnation is its own newer word. This is the
/// incarnation number of SWIM (Das et al., DSN 2002, section 4.2), with the starts in front so that a restarted
/// process needs no memory of what it refuted before.
public struct Incarnation: Hashable, Comparable, Sendable, CustomStringConvertible {
    /// How often the member's log was started.
    public var epoch: UInt64
    /// How often the member contradicted an accusation (or changed an attribute) since that start.
    public var counter: UInt32

    /// The incarnation of one start after so many refutations.
    public init(epoch: UInt64, counter: UInt32 = 0) {
        self.epoch = epoch
        self.counter = counter
    }

    /// By epoch, then by counter.
    public static func < (a: Self, b: Self) -> Bool { (a.epoch, a.counter) < (b.epoch, b.counter) }

    /// `epoch.counter`, for logs.
    public var description: String { "\(epoch).\(counter)" }
}

/// What is believed about a member. Of one incarnation the later case overrides the earlier.
public enum MemberState: UInt8, Comparable, Sendable, CaseIterable {
    /// It answers, or nobody has reason to doubt it.
    case alive
    /// It did not answer somebody; it has until the end of its suspicion to refute.
    case suspect
    /// It did not refute, or another replica took its address.
    case dead
    /// It said goodbye.
    case left

    /// In the order in which one overrides the other.
    public static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }
}

/// One peer of the cluster as this node believes it to be.
public struct Member: Equatable, Sendable {
    /// The most bytes of a name.
    public static let nameLimit = 64
    /// The most bytes of an HTTP address.
    public static let httpLimit = 128
    /// The most bytes of attributes that only newer peers understand.
    public static let extraLimit = 128

    /// The log it writes, which is its identity.
    public var replica: ReplicaID
    /// A name for people; need not be unique.
    public var name: String
    /// Where it listens for datagrams and links.
    public var gossip: Address
    /// Where it serves clients, as text.
    public var http: String
    /// The life that all of this is about.
    public var incarnation: Incarnation
    /// What is believed of it.
    public var state: MemberState
    /// Whether its log survives its process.
    public var isDurable: Bool
    /// A random number that names this start; one incarnation with two of them is a copied data directory.
    public var nonce: UInt64
    /// When this node began to believe `state` (on this node's own monotonic clock).
    public var since: Instant
    /// The protocol versions it speaks.
    public var protocols: Versions
    /// Attributes from a newer peer, kept and passed on as they came.
    public var extra: [UInt8]

    /// A member; texts above their caps are cut at a character.
    public init(
        replica: ReplicaID, name: String, gossip: Address, http: String = "", incarnation: Incarnation,
        state: MemberState = .alive, isDurable: Bool = false, nonce: UInt64 = 0,
        since: Instant = Instant(microseconds: 0), protocols: Versions = Frame.protocols, extra: [UInt8] = []
    ) {
        self.replica = replica
        self.name = Self.cut(name, to: Self.nameLimit)
        self.gossip = gossip
        self.http = Self.cut(http, to: Self.httpLimit)
        self.incarnation = incarnation
        self.state = state
        self.isDurable = isDurable
        self.nonce = nonce
        self.since = since
        self.protocols = protocols
        self.extra = Array(extra.prefix(Self.extraLimit))
    }

    /// Whether a claim about this member overrides another one.
    ///
    /// SWIM section 4.2, read as one total order so that every order of arrival ends in the same belief:
    /// alive(i) < suspect(i) < dead(i) < left(i) < alive(i + 1).
    public func supersedes(_ other: Member) -> Bool {
        (other.incarnation, other.state) < (incarnation, state)
    }

    /// Whether it takes part: alive or suspect.
    public var isPresent: Bool { state <= .suspect }

    private static func cut(_ text: String, to limit: Int) -> String {
        guard text.utf8.count > limit else { return text }
        var kept = text
        while kept.utf8.count > limit { kept.removeLast() }
        return kept
    }
}

/// How much a line for the log matters. The shell has its own scale and maps this one onto it.
public enum Severity: Int, Comparable, Sendable, CaseIterable {
    /// For whoever looks for a fault in Hypha itself.
    case debug
    /// Something worth knowing happened.
    case info
    /// Something is wrong, and the node goes on.
    case warning
    /// Something is wrong that needs a person.
    case error

    /// By how much it matters.
    public static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }
}
