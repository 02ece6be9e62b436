import CRDT

/// Datagrams out and in.
extension Membership {
    /// Sends one message: the rumors that it must carry, then as many of those that wait as fit.
    mutating func send(
        _ message: Message, to address: Address, first: [Rumor] = [], now: Instant, into effects: inout Effects
    ) {
        let start = effects.bytes.count
        datagramCounter += 1
        Datagram.open(message, from: me, counter: datagramCounter, cluster: clusterHash, into: &effects.bytes)
        for rumor in first { append(rumor, from: start, to: &effects.bytes) }
        for suspicion in suspicions.prefix(8) {
            if let at = index(of: suspicion.replica),
                !first.contains(where: { $0.member.replica == suspicion.replica }) {
                append(self.rumor(records[at], accuser: me.replica, now: now), from: start, to: &effects.bytes)
            }
        }
        if !rumors.isEmpty {
            let limit = RumorQueue.limit(members: presentCount, factor: profile.retransmitFactor)
            var queue = rumors
            rumors = RumorQueue()
            queue.tell(limit: limit) { item in
                guard !first.contains(where: { $0.member.replica == item.replica }),
                    let rumor = rumor(about: item, now: now)
                else { return false }
                return append(rumor, from: start, to: &effects.bytes)
            }
            rumors = queue
        }
        Datagram.seal(from: start, &effects.bytes)
        let size = effects.bytes.count - start
        assert(size <= Datagram.sizeLimit, "a datagram of \(size) bytes")
        counters.datagramsSent += 1
        counters.bytesSent += size
        effects.list.append(.datagram(to: address, start..<effects.bytes.count))
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
            reading = try Datagram.read(bytes, cluster: clusterHash)
        } catch {
            counters.malformed += 1
            return
        }
        switch reading {
        case .datagram(let datagram): act(on: datagram, from: from, now: now, into: &effects)
        case .foreignVersion: counters.foreignVersion += 1
        case .sealed: counters.sealed += 1
        case .foreignCluster: counters.foreignCluster += 1
        case .unknownType: counters.unknownType += 1
        }
    }

    private mutating func act(
        on datagram: Datagram, from: Address, now: Instant, into effects: inout Effects
    ) {
        let sender = datagram.sender
        guard sender != me.replica else { return hearOwnId(datagram, from: from, now: now, into: &effects) }
        guard index(of: sender).map({ records[$0].member.incarnation.epoch <= datagram.epoch }) ?? true else {
            // It was sent before its sender's present start, and proves nothing about that.
            counters.stale += 1
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
        guard now >= nextQuery else { return }
        nextQuery = now.advanced(milliseconds: max(1, profile.gossipIntervalMs / 4))
        announce(to: address, now: now, into: &effects)
    }

    /// A datagram under this node's own id: an echo of its own, of an earlier start, or of a copy of its data.
    private mutating func hearOwnId(
        _ datagram: Datagram, from: Address, now: Instant, into effects: inout Effects
    ) {
        guard datagram.start == me.nonce else {
            guard datagram.epoch >= me.incarnation.epoch else { return counters.stale += 1 }
            return reportClone(epoch: datagram.epoch, nonce: datagram.start, at: from, into: &effects)
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
