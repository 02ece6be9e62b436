import CRDT

/// Datagrams out and in.
extension Membership {
    /// So many suspicions are retold on one datagram, beside that of the peer it goes to.
    static let retoldLimit = 8

    /// Sends one message, with what fits behind it: the rumors that it must carry, what the addressee is suspected of,
    /// the news, and suspicions that are no news any more. Nothing is sent to whom no common version reaches.
    ///
    /// News are told a bounded number of times, which lets one in some hundreds miss somebody. For a join or a death
    /// comparing tables makes up for it; a suspicion unheard becomes a death. So whoever holds one that runs tells it
    /// again on every datagram that is sent anyway, until its subject refutes it or it ends: the suspect hears it
    /// from all who speak to it (Lifeguard, IV-C, "buddy system"), and so do those who alone can reach the suspect.
    /// It is retold under the name of its first accuser: to have heard it is no confirmation.
    mutating func send(
        _ message: Message, to address: Address, first: [Rumor] = [], now: Instant, into effects: inout Effects
    ) {
        guard let version = version(for: address) else { return counters.unspeakable += 1 }
        let start = effects.bytes.count
        datagramCounter += 1
        Datagram.open(
            message, from: me, counter: datagramCounter, cluster: clusterHash, version: version, into: &effects.bytes)
        var told = first.map(\.member.replica)
        for rumor in first { append(rumor, from: start, to: &effects.bytes) }
        tellSuspect(at: address, &told, from: start, now: now, to: &effects.bytes)
        tellNews(&told, from: start, now: now, to: &effects.bytes)
        retellSuspicions(besides: told, from: start, now: now, to: &effects.bytes)
        Datagram.seal(from: start, &effects.bytes)
        let size = effects.bytes.count - start
        assert(size <= Datagram.sizeLimit, "a datagram of \(size) bytes")
        counters.datagramsSent += 1
        counters.bytesSent += size
        effects.list.append(.datagram(to: address, start..<effects.bytes.count))
    }

    /// Tells whoever lives at an address what it is suspected of.
    private func tellSuspect(
        at address: Address, _ told: inout [ReplicaID], from start: Int, now: Instant, to bytes: inout [UInt8]
    ) {
        for suspicion in suspicions where !told.contains(suspicion.replica) {
            guard let at = index(of: suspicion.replica), records[at].member.gossip == address else { continue }
            if append(rumor(records[at], now: now), from: start, to: &bytes) { told.append(suspicion.replica) }
        }
    }

    /// Tells as much of what waits to be told as fits.
    private mutating func tellNews(
        _ told: inout [ReplicaID], from start: Int, now: Instant, to bytes: inout [UInt8]
    ) {
        guard !rumors.isEmpty else { return }
        let limit = RumorQueue.limit(members: presentCount, factor: profile.retransmitFactor)
        var queue = rumors
        rumors = RumorQueue()
        queue.tell(limit: limit) { item in
            guard !told.contains(item.replica), let rumor = rumor(about: item, now: now),
                append(rumor, from: start, to: &bytes)
            else { return false }
            if rumor.member.state == .suspect { told.append(item.replica) }
            return true
        }
        rumors = queue
    }

    /// Tells some suspicions again, taking turns where there are many: no more than `retoldLimit`, and what fits.
    private mutating func retellSuspicions(
        besides told: [ReplicaID], from start: Int, now: Instant, to bytes: inout [UInt8]
    ) {
        var (looked, retold) = (0, 0)
        while looked < suspicions.count, retold < Self.retoldLimit {
            if nextRetold >= suspicions.count { nextRetold = 0 }
            let suspect = suspicions[nextRetold].replica
            if !told.contains(suspect), let at = index(of: suspect) {
                guard append(rumor(records[at], now: now), from: start, to: &bytes) else { return }
                retold += 1
            }
            nextRetold += 1
            looked += 1
        }
    }

    private func rumor(about item: RumorQueue.Item, now: Instant) -> Rumor? {
        guard item.replica != me.replica else {
            return me.gossip.isSpecific ? Rumor(member: me, accuser: me.replica) : nil
        }
        return index(of: item.replica).map { rumor(records[$0], accuser: item.accuser, now: now) }
    }

    @discardableResult
    private func append(_ rumor: Rumor, from start: Int, to bytes: inout [UInt8]) -> Bool {
        let before = bytes.count
        rumor.encode(into: &bytes)
        guard bytes.count - start <= Datagram.sizeLimit else {
            bytes.removeLast(bytes.count - before)
            return false
        }
        return true
    }

    mutating func receive(_ bytes: RawSpan, from: Address, now: Instant, into effects: inout Effects) {
        counters.datagramsReceived += 1
        guard phase == .present else { return }
        let reading: Datagram.Reading
        do {
            reading = try Datagram.read(bytes, cluster: clusterHash, speaking: me.protocols)
        } catch {
            counters.malformed += 1
            return
        }
        switch reading {
        case .datagram(let datagram):
            heard = (from, datagram.protocols)
            act(on: datagram, from: from, now: now, into: &effects)
        case .foreignVersion(let sender, let protocols):
            counters.foreignVersion += 1
            heard = (from, protocols)
            answerForeign(sender, protocols, at: from, now: now, into: &effects)
        case .sealed: counters.sealed += 1
        case .foreignCluster: counters.foreignCluster += 1
        case .unknownType: counters.unknownType += 1
        }
        heard = nil
    }

    private mutating func act(
        on datagram: Datagram, from: Address, now: Instant, into effects: inout Effects
    ) {
        let sender = datagram.sender
        guard sender != me.replica else { return hearOwnId(datagram, from: from, now: now, into: &effects) }
        guard index(of: sender).map({ records[$0].member.incarnation.epoch <= datagram.epoch }) ?? true else {
            // It was sent before its sender's present start, and proves nothing about that; or by the original of a copy,
            // which has to hear of the copy.
            counters.stale += 1
            if case .announce = datagram.message, let at = index(of: sender), records[at].member.gossip != from {
                welcome(from, first: [rumor(records[at], now: now)], now: now, into: &effects)
            }
            return
        }
        var isTable = false
        if case .welcome = datagram.message { isTable = true }
        var outdated: [ReplicaID] = []
        for rumor in datagram.rumors {
            let source: Source = rumor.member.replica == sender ? .firsthand : isTable ? .table : .gossip
            learn(rumor, source, now: now, into: &effects)
            if isOutdated(rumor.member) { outdated.append(rumor.member.replica) }
        }
        let isStranger = index(of: sender).map { records[$0].member.incarnation.epoch < datagram.epoch } ?? true
        if let (about, theirs) = datagram.message.summary(from: sender), !isStranger, index(of: about) != nil {
            let ageMs = datagram.message.answers.flatMap { probeAgeMs(sequence: $0, of: about, now: now) }
            effects.list.append(.summary(of: about, theirs, ageMs: ageMs))
        }
        if !isStranger, let theirs = datagram.message.table {
            compareTables(theirs, with: from, now: now, into: &effects)
        }
        let correction = correction(of: datagram, outdated: outdated, now: now)
        var isCorrected = correction.isEmpty
        switch datagram.message {
        case .ping(let theirs, let target, _, _) where target == me.replica:
            send(
                .ack(sequence: theirs, of: me.replica, table: tableHash, summary), to: from, first: correction,
                now: now, into: &effects)
            isCorrected = true
        case .ping:
            // Meant for a replica that was here before, or never was.
            welcome(from, now: now, into: &effects)
        case .ack(let theirs, let of, let table, let summary):
            receiveAck(theirs, of: of, table: table, summary, now: now, into: &effects)
        case .ask(let theirs, let target, let address):
            receiveAsk(theirs, target: target, at: address, asker: from, now: now, into: &effects)
        case .nack(let theirs):
            receiveNack(theirs, from: sender)
        case .announce(let you, let wantsTable, _):
            adoptAddress(you, now: now, into: &effects)
            welcome(from, first: correction, everybody: wantsTable && !isStranger, now: now, into: &effects)
            isCorrected = true
        case .welcome(let you, _):
            for i in seeds.indices where seeds[i].address == from { seeds[i].answeredBy = sender }
            if adoptAddress(you, now: now, into: &effects) { announce(to: from, now: now, into: &effects) }
        case .gossip:
            break
        }
        if isStranger {
            query(datagram.message, from, now: now, into: &effects)
        } else if !isCorrected {
            correct(sender, with: correction, now: now, into: &effects)
        }
    }

    /// What must be answered to a sender: an accusation against itself (or the other start of its id), so that it can
    /// refute it; and newer words on what it told.
    private func correction(of datagram: Datagram, outdated: [ReplicaID], now: Instant) -> [Rumor] {
        var words: [Rumor] = []
        if let at = index(of: datagram.sender) {
            if records[at].member.incarnation.epoch == datagram.epoch,
                records[at].member.state != .alive || records[at].member.nonce != datagram.start
            {
                words.append(rumor(records[at], now: now))
            }
        }
        for replica in outdated.prefix(4) where replica != datagram.sender {
            if replica == me.replica { words += myRumor }
            if let at = index(of: replica) { words.append(rumor(records[at], now: now)) }
        }
        return words
    }

    /// Whether a claim accuses a life of somebody that has meanwhile answered: whoever still tells it missed that,
    /// and would go on to believe a death.
    private func isOutdated(_ claim: Member) -> Bool {
        guard claim.state != .alive, let known = member(claim.replica) else { return false }
        return claim.incarnation < known.incarnation
    }

    /// Tells a sender what is believed of it, if the answer to its message did not; at most once per gossip interval.
    private mutating func correct(
        _ sender: ReplicaID, with correction: [Rumor], now: Instant, into effects: inout Effects
    ) {
        guard let at = index(of: sender) else { return }
        if let last = records[at].correctedAt, now.milliseconds(since: last) < profile.gossipIntervalMs { return }
        records[at].correctedAt = now
        send(.gossip, to: records[at].member.gossip, first: correction, now: now, into: &effects)
    }

    /// Asks a sender that is unknown, or was restarted unnoticed, who it is: an announcement is answered by a welcome.
    private mutating func query(_ message: Message, _ address: Address, now: Instant, into effects: inout Effects) {
        switch message {
        case .announce, .welcome: return  // it said all that it can
        case .ping, .ack, .ask, .nack, .gossip: break
        }
        introduce(to: address, now: now, into: &effects)
    }

    /// Says who this node is to somebody who does not know, not more often than a few times per gossip interval.
    mutating func introduce(to address: Address, now: Instant, into effects: inout Effects) {
        guard now >= nextQuery else { return }
        nextQuery = now.advanced(milliseconds: max(1, profile.gossipIntervalMs / 4))
        announce(to: address, now: now, into: &effects)
    }

    /// A datagram under this node's own id: an echo of its own, of an earlier start, or of a copy of its data.
    private mutating func hearOwnId(
        _ datagram: Datagram, from: Address, now: Instant, into effects: inout Effects
    ) {
        guard datagram.start == me.nonce else {
            // Of an earlier start of this very process, or of the original of which this node is a copy.
            let isElsewhere = me.gossip.isSpecific && from != me.gossip
            guard datagram.epoch >= me.incarnation.epoch || isElsewhere else { return counters.stale += 1 }
            return reportClone(epoch: datagram.epoch, nonce: datagram.start, at: from, now: now, into: &effects)
        }
        // One of the seeds is this node itself.
        guard case .announce(let you, _, _) = datagram.message else { return }
        for i in seeds.indices where seeds[i].address == you { seeds[i].isMe = true }
        adoptAddress(you, now: now, into: &effects)
    }
}

extension Message {
    /// Whom the summary in this message is about, if it carries one.
    fileprivate func summary(from sender: ReplicaID) -> (ReplicaID, Membership.Summary)? {
        switch self {
        case .ping(_, _, _, let summary), .announce(_, _, let summary), .welcome(_, let summary): (sender, summary)
        case .ack(_, let of, _, let summary): (of, summary)
        case .ask, .nack, .gossip: nil
        }
    }

    /// The ping that this message answers, if it does.
    fileprivate var answers: UInt32? {
        switch self {
        case .ack(let sequence, _, _, _): sequence
        case .ping, .announce, .welcome, .ask, .nack, .gossip: nil
        }
    }

    /// The hash of somebody's table in this message, if it carries one.
    fileprivate var table: UInt32? {
        switch self {
        case .ping(_, _, let table, _), .ack(_, _, let table, _): table
        case .ask, .nack, .announce, .welcome, .gossip: nil
        }
    }
}
