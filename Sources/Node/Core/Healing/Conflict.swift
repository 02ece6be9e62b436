import CRDT

/// Something that the sides of a partition did each by itself, and that could not both stay: what a `cluster.healed`
/// event lists.
struct Conflict: Equatable, Sendable {
    /// What kind of conflict it is.
    enum Kind: String, CaseIterable, Sendable {
        /// Both sides wrote one field; the later write stays.
        case overwrittenField = "overwritten_field"
        /// Both sides granted the turn in a chat; the higher token stays.
        case doubleGrant = "double_grant"
        /// Both sides let a task be claimed; the higher token stays, and a completed one before any other.
        case doubleClaim = "double_claim"
        /// One side removed a member, the other changed its role; it stays removed.
        case roleOfRemoved = "role_of_removed"
        /// One side removed a member or retired an agent, on whose behalf the other accepted messages; they are kept and
        /// tagged.
        case spokeAfterRemoval = "spoke_after_removal"
    }

    let kind: Kind
    /// The document, or the queue group.
    let subject: String
    /// The field, the agent or the event.
    let detail: String
    /// Two agents, in whichever order they come.
    static func both(_ a: String, _ b: String) -> String {
        if a.isSame(as: b) { return a }
        return a.utf8.lexicographicallyPrecedes(b.utf8) ? "\(a), \(b)" : "\(b), \(a)"
    }

    /// What stays and what does not, in words or as JSON text.
    let kept: String
    let lost: String
}
