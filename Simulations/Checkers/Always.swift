internal import NodeCore

/// What must hold at every moment, whatever the weather: each subscriber sees no event twice, each log in its order,
/// and no effect before a cause that the accepting node had seen.
struct Always {
    /// Who watches at the node that writes a log.
    var origins: [UInt64: Session] = [:]
    /// How many events each log's writer took as new.
    private(set) var taken: [UInt64: Int] = [:]
    /// Logs whose writer may write a number twice: it runs twice, or was set back to an earlier state and cannot know.
    var forgetful: Set<UInt64> = []
    /// Entries that their writers told an agent of.
    private var answered: Set<EntryName> = []
    /// Which event each entry was, as anybody was ever shown it.
    private var facts: [EntryName: Int] = [:]
    /// The copies of each event, as far as anybody was told or shown them.
    private(set) var copies: [Int: [EntryName]] = [:]

    /// A subscriber is shown an event; the promise that this breaks, if any.
    ///
    /// `witness` watches everything at the same node; it may be the subscriber itself.
    mutating func shown(
        _ sighting: Sighting, place: Int, to session: Session, witness: Session, _ ledger: Ledger
    ) -> Violation? {
        func here() -> String {
            "\(sighting.key.text) of log \(sighting.replica) at node \(session.node), session \(session.id.rawValue)"
        }
        if session.place[place] != nil { return Violation("no subscriber sees an event twice", here()) }
        if let last = session.lastSequence[sighting.replica], sighting.sequence <= last {
            return Violation(
                "seq rises per replica for each subscriber", "\(sighting.sequence) after \(last): \(here())")
        }
        if session === witness, origins[sighting.replica] === session, sighting.stamp <= session.youngest {
            return Violation("a node's own stamps come after all that it has seen", here())
        }
        if !session.wants(place, ledger) {
            return Violation(
                "a subscriber sees only what it subscribed to",
                "\(ledger.scope(of: place)) for \(session.filter ?? "all")")
        }
        if let cause = missingCause(of: sighting, place: place, for: session, witness: witness, ledger) {
            let origin = origins[sighting.replica]
            return Violation(
                "causes come before effects",
                "\(ledger[cause].key.text) was missing before \(here()); node \(origin?.node ?? -1) had "
                    + "\(origin?.unordered.contains(cause) == true ? "recovered" : "shown") it before, the witness here "
                    + "\(witness.place[cause] == nil ? "lacks" : "has") it")
        }
        let name = EntryName(replica: sighting.replica, sequence: sighting.sequence)
        if !forgetful.contains(sighting.replica), let fact = facts.updateValue(place, forKey: name), fact != place {
            return Violation(
                "a sequence number names one fact for ever", "\(ledger[fact].key.text) before \(here())")
        }
        session.add(place, sighting)
        note(name, of: place)
        return nil
    }

    /// One more copy of an event is known.
    mutating func note(_ name: EntryName, of place: Int) {
        if copies[place]?.contains(name) != true { copies[place, default: []].append(name) }
    }

    /// A node starts, and begins to count.
    mutating func begins(_ replica: UInt64, witness: Session?) {
        origins[replica] = witness
        taken[replica] = nil
    }

    /// A node told an agent that it took an event as new; the promise that this breaks, if any. An answer that waited for
    /// other nodes `isLate`: more was taken meanwhile.
    func taken(_ sighting: Sighting, by replica: UInt64, witness: Session, isLate: Bool = false) -> Violation? {
        let shown = witness.lastSequence[replica] ?? 0
        let wasShown = isLate ? sighting.sequence <= shown : sighting.sequence == shown
        if sighting.replica == replica, wasShown { return nil }
        return Violation(
            "201 is for what a node takes into its own log, and shows, for the first time",
            "\(sighting.key.text) as \(sighting.sequence) of log \(sighting.replica) at node \(witness.node)")
    }

    /// Counts what a node took into its own log; false for what it took before, or another did.
    mutating func counts(_ sighting: Sighting, by replica: UInt64) -> Bool {
        let name = EntryName(replica: sighting.replica, sequence: sighting.sequence)
        guard sighting.replica == replica, answered.insert(name).inserted else { return false }
        taken[replica, default: 0] += 1
        return true
    }

    /// An event that the accepting node had seen before it took this one, and that `session` should have been shown
    /// and was not.
    private func missingCause(
        of sighting: Sighting, place: Int, for session: Session, witness: Session, _ ledger: Ledger
    ) -> Int? {
        // Under a log that forked, one number is two causes.
        guard forgetful.isEmpty, let origin = origins[sighting.replica], origin !== session,
            let taken = origin.place[place]
        else { return nil }
        guard !session.missesHistory, !origin.unordered.contains(place) else { return nil }
        let from = session.verified[sighting.replica] ?? 0
        guard from < taken else { return nil }
        for cause in origin.shown[from..<taken] where session.place[cause] == nil {
            // What the node had already shown when the subscriber came, and what it did not ask for, it misses rightly.
            let before = witness.place[cause].map { $0 < session.openedAfter } ?? false
            if !before, session.wants(cause, ledger) { return cause }
        }
        session.verified[sighting.replica] = taken
        return nil
    }
}
