import CRDT
import Gossip

/// What a partition leaves behind (docs/partitions.md): once members that were lost are back and everything they wrote was
/// read, one node tells in an event `cluster.healed` what the sides did that could not both stay.
extension NodeCore {
    /// Fields of documents about which sides can disagree so that somebody should know; what nodes keep for themselves
    /// (progress, marks, heartbeats) merges without loss.
    private static func isTold(_ kind: DocumentKind, _ field: String) -> Bool {
        switch kind {
        case .node, .attention, .context: true
        case .agent: !["heartbeat", "last_seen", "registered"].contains(field)
        case .chat, .turn: !field.hasPrefix("grant/") && field != "owner"
        case .task: !field.hasPrefix("claim/") && !field.hasPrefix("done/")
        case .group: field == "options"
        case .eventType, .schema, .plan, .session, .working, .knowledge, .procedure: true
        // Written with the state that it is a part of.
        case .planContext: field != "status"
        // What of it two handlers write at once is merged.
        case .taskContext: false
        case .mailbox, .marks, .reputation, .episodes: false
        }
    }

    /// The most bytes of a value that a conflict shows.
    private static let maximumShownBytes = 256

    /// Notes what two sides of a partition did that cannot both stay. Outside a partition it is no more than two who acted
    /// within the same moment, and is not told.
    mutating func noteConflict(_ conflict: Conflict) {
        if healing.isWatching { healing.note(conflict) }
    }

    // MARK: - Watching

    /// An entry of a peer's is about to be applied while members are lost or have just come back.
    mutating func watch(_ position: Int, _ kind: Fact.Kind, _ body: Range<Int>, at stamp: HybridTimestamp) {
        let sequence = cluster.log.record(at: position).sequence
        guard healing.rifts[stamp.replica] != nil else { return }
        let entries = cluster.log.read(position) { entry -> [VersionVector.Entry] in
            (try? Fact(entry))?.readEntries(entry) ?? []
        }
        healing.note(stamp.replica, sequence, read: entries)
        guard let context = healing.context(of: stamp.replica, sequence) else { return }
        healing.postpone()
        guard kind == .put else { return }
        let put = cluster.log.read(position) { try? DocumentMap.decode($0.extracting(body)) }
        guard let put, let (kind, _) = DocumentKind.split(Array(put.document.utf8).span.bytes) else { return }
        for change in put.changes { compare(change, of: put.document, kind, at: stamp, context) }
    }

    /// Compares a write of a lost member's with what it finds here.
    private mutating func compare(
        _ change: DocumentMap.Change, of document: String, _ kind: DocumentKind, at stamp: HybridTimestamp,
        _ context: VersionVector
    ) {
        let (field, value): (String, [UInt8]?)
        switch change {
        case .set(let name, let bytes): (field, value) = (name, bytes)
        case .unset(let name): (field, value) = (name, nil)
        case .create: return
        case .remove:
            // Whatever was written here meanwhile goes with the document.
            let late = documents.fields(of: document).filter { isConcurrent($0.stamp, with: stamp, context) }
            guard let last = late.last(where: { Self.isTold(kind, $0.name) }) else { return }
            return healing.note(
                Conflict(
                    kind: .overwrittenField, subject: document, detail: last.name,
                    kept: stamp > last.stamp ? "removed" : Self.shown(last.value),
                    lost: stamp > last.stamp ? Self.shown(last.value) : "the removal of what was written before"))
        }
        guard Self.isTold(kind, field), let here = documents.write(to: field, of: document),
            isConcurrent(here.stamp, with: stamp, context), here.value != value
        else { return }
        let (mine, theirs) = (Self.shown(here.value), Self.shown(value))
        // A role goes with its member, and only so: one side removed whom the other gave a role.
        if kind == .chat, field.hasPrefix("role/"), here.value == nil || value == nil {
            return healing.note(
                Conflict(
                    kind: .roleOfRemoved, subject: document, detail: String(field.dropFirst("role/".count)),
                    kept: "removed", lost: "role \(here.value == nil ? theirs : mine)"))
        }
        healing.note(
            Conflict(
                kind: .overwrittenField, subject: document, detail: field,
                kept: stamp > here.stamp ? theirs : mine, lost: stamp > here.stamp ? mine : theirs))
    }

    /// Whether the writer of a later entry, who had read as `context` says, had not read this write.
    private func isConcurrent(
        _ here: HybridTimestamp, with stamp: HybridTimestamp, _ context: VersionVector
    ) -> Bool {
        here.replica != stamp.replica
            && here.time > cluster.log.time(of: here.replica, at: context[here.replica])
    }

    private static func shown(_ value: [UInt8]?) -> String {
        guard let value else { return "removed" }
        let text = String(decoding: value.prefix(maximumShownBytes), as: UTF8.self)
        return value.count > maximumShownBytes ? text + "…" : text
    }

    /// Follows the members, and tells of a heal when it is time.
    mutating func settleHealing(now: Instant, into effects: inout Effects) {
        if healing.seenMembers != cluster.memberChanges {
            healing.seenMembers = cluster.memberChanges
            let (log, replication) = (cluster.log, cluster.replication)
            healing.follow(
                cluster.membership.members, me: settings.replica, nowMs: cluster.nowMs(now), now: now,
                head: { log.head(of: $0) }, read: { replication.lastRead(by: $0) ?? VersionVector() })
        }
        guard healing.isWatching, !healing.returned.isEmpty else { return }
        guard !isIncomplete, !isLeaving, journal?.takesMore ?? true, doubtfulUntil == nil else {
            return healing.postpone()
        }
        let present = cluster.membership.members.filter(\.isPresent).map(\.replica).sorted()
        let rank = present.firstIndex(of: settings.replica) ?? present.count
        let (log, replication) = (cluster.log, cluster.replication)
        healing.schedule(now: now, pauseMs: settings.profile.probeIntervalMs, rank: rank) { peer in
            replication.vector(of: peer).map { log.hasRead($0) } ?? false
        }
        guard let due = healing.due, due <= now else { return }
        if let report = healing.takeReport() { tell(report, now: now, into: &effects) }
    }

    /// When `settleHealing` has something to do.
    var healingWake: Instant? { healing.due }

    // MARK: - Telling

    private mutating func tell(_ report: Healing.Report, now: Instant, into effects: inout Effects) {
        func member(_ name: String, _ replica: ReplicaID) -> JSONValue {
            .object([("name", .string(name)), ("replica", .string(replica.description))])
        }
        let back = Set(report.returned.map(\.replica))
        let others = cluster.membership.members.filter { $0.isPresent && !back.contains($0.replica) }
        let since = report.returned.map(\.sinceMs).min() ?? cluster.nowMs(now)
        let conflicts = report.conflicts.map { conflict -> JSONValue in
            .object([
                ("kind", .string(conflict.kind.rawValue)), ("subject", .string(conflict.subject)),
                ("detail", .string(conflict.detail)), ("kept", .string(conflict.kept)),
                ("lost", .string(conflict.lost)),
            ])
        }
        let fields: [(key: String, value: JSONValue)] = [
            ("since", .time(since)),
            (
                "sides",
                .array([
                    .array(others.map { member($0.name, $0.replica) }),
                    .array(report.returned.map { member($0.name, $0.replica) }),
                ])
            ),
            ("conflicts", .array(conflicts)), ("conflict_count", .number(conflicts.count + report.excess)),
            ("complete", .bool(!report.isPartial && report.excess == 0)),
        ]
        effects.list.append(
            .log(
                .info,
                "healed: \(report.returned.map(\.name).joined(separator: ", ")) back; "
                    + "\(conflicts.count + report.excess) conflicts"))
        do throws(NodeError) {
            try announce(.cluster, "cluster.healed", source: settings.name, fields, now: now, into: &effects)
        } catch {
            effects.list.append(.log(.warning, "the heal is not told (\(error.message))"))
        }
    }

    /// A node has told of a heal: nobody else need.
    mutating func heardHeal(_ view: EventView, _ json: RawSpan) {
        guard json.extracting(view.typeText).isEqual(to: Array("cluster.healed".utf8)),
            json.extracting(view.address).isEqual(to: Array(AnnouncedTopic.cluster.rawValue.utf8)),
            let event = try? JSONValue(json), let sides = event["data"]?["sides"]?.elements
        else { return }
        var members: Set<ReplicaID> = []
        for member in sides.flatMap({ $0.elements ?? [] }) {
            if let text = member["replica"]?.string, let replica = ReplicaID(text: text) { members.insert(replica) }
        }
        healing.heard(members)
    }
}

extension Fact {
    /// What the writer had read of other logs, as far as the entry says.
    fileprivate func readEntries(_ entry: RawSpan) -> [VersionVector.Entry] {
        var cursor = ByteCursor(dependencies)
        var found: [VersionVector.Entry] = []
        for _ in 0..<dependencyCount {
            guard let replica = try? cursor.replica(entry), let sequence = try? cursor.varint(entry) else { break }
            found.append(VersionVector.Entry(replica: replica, sequence: sequence))
        }
        return found
    }
}
