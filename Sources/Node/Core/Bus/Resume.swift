import CRDT
import Gossip

/// A client that is being given what it has missed, since it was last connected here or elsewhere.
struct Resume: Sendable {
    /// What it has seen, as it says.
    let seen: CompactVector
    /// When it said so.
    let since: Instant
    /// The same by the logs that are known here, and what it was shown until it last had to wait.
    var covered: VersionVector
    /// Every entry before this position it has seen, or is not held.
    let first: Int
    /// Entries before this position were looked at.
    var through: Int
    /// What is to be shown of those, in order, and how much of that was.
    var positions: [Int] = []
    var at = 0
    /// It was sent as much as one turn may send, and has not taken it yet.
    var isWaiting = false
    /// Entries that it might have missed were dropped, and it was told.
    var gaps: [Gap] = []

    /// Entries of one log that are no longer kept.
    struct Gap: Equatable, Sendable {
        let replica: ReplicaID
        let from: UInt64
        let to: UInt64
    }

    /// The position behind the last one that it was shown, or need not be.
    var next: Int { at < positions.count ? positions[at] : through }

    /// How far it has come.
    func cursorText(_ log: borrowing FactLog) -> [UInt8] {
        var text: [UInt8] = []
        var cursor = CompactVector(log.seen(through: next - 1))
        cursor.merge(seen)
        cursor.encode(into: &text)
        return text
    }
}

/// Resuming: `docs/bus.md` has the rules.
extension NodeCore {
    /// So much is sent to a client at once; then it has to take it first.
    private static let resumeBytes = 256 << 10

    /// How a client that has seen this goes on here.
    mutating func begin(_ seen: CompactVector, now: Instant) throws(NodeError) -> Resume {
        guard !isIncomplete else { throw .incomplete }
        counters.resumes += 1
        let log = cluster.log
        let covered = log.known(of: seen)
        let first = log.firstMissing(from: covered)
        var resume = Resume(seen: seen, since: now, covered: covered, first: first, through: first)
        // Who asks for all that is kept misses nothing.
        if !seen.isEmpty { resume.gaps = log.gaps(behind: covered).map { Resume.Gap(replica: $0, from: $1, to: $2) } }
        if !resume.gaps.isEmpty { counters.gaps += 1 }
        return resume
    }

    /// The first frame after a resume.
    mutating func sayResumed(_ session: SessionID, into effects: inout Effects) {
        guard let gaps = sessions[session]?.resume?.gaps else { return }
        say(session, "resumed", ref: nil, into: &effects) { out in
            out.append(constant: ",\"recovered\":")
            out.append(contentsOf: (gaps.isEmpty ? "true" : "false").utf8)
            out.append(constant: ",\"gaps\":[")
            for (i, gap) in gaps.enumerated() {
                out.append(constant: i == 0 ? "{\"replica\":\"" : ",{\"replica\":\"")
                out.append(hex: gap.replica.rawValue, digits: 16)
                out.append(constant: "\",\"from\":")
                out.append(json: gap.from)
                out.append(constant: ",\"to\":")
                out.append(json: gap.to)
                out.append(UInt8(ascii: "}"))
            }
            out.append(UInt8(ascii: "]"))
        }
    }

    /// Goes on with everybody who is being resumed.
    mutating func advanceResumes(now: Instant, into effects: inout Effects) {
        for session in sessions.resuming.sorted() { advance(session, now: now, into: &effects) }
    }

    /// The client has taken what it was sent.
    mutating func emptied(_ session: SessionID, now: Instant, into effects: inout Effects) {
        guard let state = sessions[session] else { return }
        if var resume = state.resume {
            resume.isWaiting = false
            sessions.setResume(session, resume)
            advance(session, now: now, into: &effects)
        }
        if state.signals != nil { signalsTaken(session, now: now, into: &effects) }
    }

    /// Shows a client more of what it has missed; at the end it joins those that want the same.
    mutating func advance(_ session: SessionID, now: Instant, into effects: inout Effects) {
        guard let state = sessions[session], var resume = state.resume, !resume.isWaiting else { return }
        let filters = (state.filters ?? [.all]).map { $0 }
        let start = effects.bytes.count
        if resume.next < cluster.log.start { tellDropped(session, &resume, into: &effects) }
        while resume.at < resume.positions.count || resume.through < index.end {
            guard resume.at < resume.positions.count else {
                // Logs may have become known since.
                resume.covered.merge(cluster.log.known(of: resume.seen))
                resume.positions = index.positions(
                    from: resume.through, wanting: filters.filter { $0.surface != .chat })
                if filters.contains(where: { $0.surface == .chat }) {
                    resume.positions += chatPositions(from: resume.through, state.agent)
                    resume.positions.sort()
                }
                (resume.at, resume.through) = (0, index.end)
                continue
            }
            guard effects.bytes.count - start < Self.resumeBytes else {
                resume.isWaiting = true
                resume.covered.merge(cluster.log.seen(through: resume.next - 1))
                sessions.setResume(session, resume)
                return effects.list.append(.notify(session))
            }
            let position = resume.positions[resume.at]
            resume.at += 1
            guard cluster.log.holds(position) else { continue }
            if index.surface(at: position) == .chat {
                showChat(position, to: session, state, resume, filters, now: now, into: &effects)
            } else {
                show(position, to: session, state, resume, filters, into: &effects)
            }
        }
        // What it has seen elsewhere and this node has not, it must not be shown when it comes.
        guard !isAhead(resume, now: now) else {
            resume.covered.merge(cluster.log.seen(through: resume.next - 1))
            return sessions.setResume(session, resume)
        }
        sessions.setResume(session, nil)
        sessions.tune(session, into: &effects.list)
    }

    /// Shows an event unless the client has seen it, or another copy of it.
    private mutating func show(
        _ position: Int, to session: SessionID, _ state: Sessions.Session, _ resume: Resume, _ filters: [Filter],
        into effects: inout Effects
    ) {
        let log = cluster.log
        guard !resume.covers(position, log) else { return }
        let start = effects.bytes.count
        EventFrame.open(state.form, resume.cursorText(log), into: &effects.bytes)
        let from = effects.bytes.count
        log.read(position) { entry in
            effects.bytes.append(copying: entry.extracting((index.jsonOffset(at: position) ?? 0)..<entry.byteCount))
        }
        guard isWanted(effects.bytes.span.bytes.extracting(from..<effects.bytes.count), position, resume, filters)
        else { return effects.bytes.removeLast(effects.bytes.count - start) }
        EventFrame.close(
            state.form, cursor: state.wantsCursors ? resume.cursorText(log) : nil, into: &effects.bytes)
        let frame = start..<effects.bytes.count
        counters.replayed += 1
        effects.list.append(.send(session, frame))
    }

    /// Whether some filter wants an event of which the client has seen no other copy.
    private func isWanted(_ json: RawSpan, _ position: Int, _ resume: Resume, _ filters: [Filter]) -> Bool {
        guard let view = EventView(json), filters.contains(where: { $0.matches(view, json) }) else { return false }
        return !isKnown(view.id, besides: position, resume)
    }

    /// Whether a client that is being resumed has seen another copy of an event, or was just shown it.
    func isKnown(_ id: UUID, besides position: Int, _ resume: Resume) -> Bool {
        index.positions(of: id).contains { isKnown($0, besides: position, resume) }
    }

    /// Whether a client that is being resumed has seen a copy of the event at a position, or was just shown it.
    private func isKnown(_ copy: Int, besides position: Int, _ resume: Resume) -> Bool {
        guard copy != position else { return false }
        return resume.covers(copy, cluster.log)
            || copy < position && copy >= resume.first && cluster.log.holds(copy)
    }

    /// Retention was faster than the client.
    private mutating func tellDropped(_ session: SessionID, _ resume: inout Resume, into effects: inout Effects) {
        let log = cluster.log
        while resume.at < resume.positions.count, resume.positions[resume.at] < log.start { resume.at += 1 }
        resume.through = max(resume.through, log.start)
        let gaps = log.gaps(behind: resume.covered).map { Resume.Gap(replica: $0, from: $1, to: $2) }
        guard !gaps.isEmpty else { return }
        resume.gaps = gaps
        counters.gaps += 1
        sessions.setResume(session, resume)
        sayResumed(session, into: &effects)
    }

    /// Whether a client has seen what this node has not read, and still may: from a peer that has read it, or from a
    /// member that cannot be reached now. On the other side of a partition everybody is dead, and nothing is lost; and
    /// whoever has just started knows nobody. So even of those that nobody knows it waits as long as the dead are
    /// remembered.
    private func isAhead(_ resume: Resume, now: Instant) -> Bool {
        let missing = resume.seen.missing(from: cluster.log.everKnown)
        guard !missing.isEmpty else { return false }
        let waitMs = settings.limits.forgetVolatileAfterMs / (settings.profile == .lan ? 1 : 10)
        if now.milliseconds(since: resume.since) < waitMs { return true }
        let known = witnesses()
        return missing.entries.contains { entry in
            !known.haveLost(entry) || cluster.membership.members.contains { entry.matches($0.replica) }
        }
    }
}

extension Resume {
    /// Whether the client has seen the entry at a position.
    func covers(_ position: Int, _ log: borrowing FactLog) -> Bool {
        let record = log.record(at: position)
        return log.head(of: log.replica(in: Int(record.slot)), in: covered) >= record.sequence
    }
}
