internal import CRDT
internal import Gossip
internal import NodeCore

/// What agents and subscribers do, and what becomes of it.
extension Cluster {
    /// From now on agents post and subscribers wander.
    func startCrowd() {
        crowd.isActive = true
        for agent in crowd.agents.indices { agenda.add(.agent(agent), at: now + nap(of: agent)) }
        startClients()
        startSociety()
        while crowd.wanderers.count < options.wanderers {
            crowd.wanderers.append(nil)
            agenda.add(.wanderer(crowd.wanderers.count - 1), at: now + 1_000)
        }
    }

    /// No new errands; what was begun is finished.
    func stopCrowd() { crowd.isActive = false }

    private func nap(of agent: Int) -> UInt64 {
        options.postIntervalMs * 500 + crowd.agents[agent].dice.below(options.postIntervalMs * 1_000 + 1)
    }

    // MARK: Agents

    func step(agent: Int) {
        guard crowd.isActive else { return }
        agenda.add(.agent(agent), at: now + nap(of: agent))
        if crowd.agents[agent].happens(options.hopRate) {
            crowd.agents[agent].home = crowd.agents[agent].roll(nodes.count)
        }
        let home = crowd.agents[agent].home
        let seen = crowd.memory(of: agent, elsewhereThan: home)
        switch crowd.agents[agent].roll(24) {
        case 0...2:
            let place = ledger.graph.write(crowd.graphWrite(by: agent))
            let clock = crowd.agents[agent].roll(4) == 0 ? seen?.clock : nil
            begin(.graph(place), agent: agent, at: home, clock: clock)
        case 3, 4:
            guard let seen else { return post(agent: agent, at: home) }
            begin(.read(seen.subject), agent: agent, at: home, clock: seen.clock)
        case 5: repost(agent: agent, at: home)
        default: post(agent: agent, at: home)
        }
    }

    /// Somebody posts an event again that was taken a while ago: it is known by then, here or soon. Not where a copy may
    /// have left the log before the other is known, nor where a copied id may start anew without what it read.
    private func repost(agent: Int, at home: Int) {
        guard !crowd.recent.isEmpty, options.keptEntries == 0, !sharesIDs else {
            return post(agent: agent, at: home)
        }
        let place = crowd.recent[crowd.agents[agent].roll(crowd.recent.count)]
        begin(.event(place, other: false), agent: agent, at: home)
    }

    private func post(agent: Int, at home: Int) {
        let isTwin = nodes.count > 1 && crowd.agents[agent].happens(options.twinRate)
        let isConflict = isTwin && crowd.agents[agent].happens(options.conflictRate)
        let posting = crowd.agents[agent].compose(
            number: agent, recent: crowd.recent, ledger: ledger, filler: options.filler, twin: isConflict)
        let place = ledger.add(posting)
        tally.add(.events)
        begin(.event(place, other: false), agent: agent, at: home)
        guard isTwin else { return }
        tally.add(.twins)
        if isConflict { tally.add(.conflicts) }
        let elsewhere = (home + 1 + crowd.agents[agent].roll(nodes.count - 1)) % nodes.count
        begin(.event(place, other: isConflict), agent: agent, at: elsewhere)
    }

    func begin(
        _ errand: Call.Errand, agent: Int, at node: Int, attempt: Int = 0, clock: CompactVector? = nil,
        level: AckLevel? = nil, askedAt: UInt64? = nil, after wait: UInt64 = 0
    ) {
        let call = crowd.calls.count
        let isWrite = if case .read = errand { false } else { true }
        let level = level ?? (isWrite ? crowd.level(by: agent) : .local)
        crowd.calls.append(
            Call(errand: errand, agent: agent, node: node, attempt: attempt, clock: clock, level: level))
        crowd.calls[call].askedAt = askedAt ?? now
        if case .event(let place, _) = errand {
            ledger[place].askedAt = ledger[place].askedAt ?? now
            crowd.calls[call].askedAt = ledger[place].askedAt!
        }
        let sent = now + wait
        agenda.add(.call(call), at: sent + crowd.delay())
        agenda.add(.impatience(call: call), at: sent + 2_000_000)
    }

    func arrive(call: Int) {
        let node = nodes[crowd.calls[call].node]
        guard node.isRunning, node.state == .up else {
            return agenda.add(.broken(call: call), at: now + crowd.delay())
        }
        crowd.calls[call].history = node.history
        crowd.calls[call].tookAt = now
        node.openCalls.append(call)
        let id = RequestID(UInt64(call) + 1)
        let (clock, level) = (crowd.calls[call].clock, crowd.calls[call].level)
        if level != .local { tally.add(.strongAsks) }
        switch crowd.calls[call].errand {
        case .event(let place, let other):
            feed(
                node, .request(id, .postEvent, after: clock, ack: level),
                other ? ledger[place].otherBody! : ledger[place].body)
        case .graph(let place):
            let write = ledger.graph.writes[place]
            feed(node, .request(id, Request(write), after: clock, ack: level), write.body(place))
        case .social(let place):
            let act = society.ask(place)
            feed(node, .request(id, act.request, after: clock, ack: level), act.body(place))
        case .read(.event(let place)): feed(node, .request(id, .event(id: ledger[place].key.text), after: clock))
        case .read(.graph(let graphNode, _)): feed(node, .request(id, .node(id: graphNode), after: clock))
        }
    }

    /// A node answers a post: it took an event as new, or says that it has written it though not where it was asked to.
    func took(_ place: Int, _ status: UInt16, _ bytes: [UInt8], _ body: Range<Int>, _ call: Call, _ node: Node) {
        let isNew: Bool
        switch status {
        case 201:
            guard let sighting = Sighting(bytes, body) else {
                return fail("an accepted event is answered whole", "node \(node.index)")
            }
            always.note(EntryName(replica: sighting.replica, sequence: sighting.sequence), of: place)
            // A durable node that starts anew takes events again before it has told its sessions to go.
            let wasUnseen = call.level != .local && node.missesHistory
            guard node.owedBeforeAnew == nil, node.witness.isTuned, !wasUnseen else { return }
            let broken = always.taken(
                sighting, by: node.replica.rawValue, witness: node.witness, isLate: call.level != .local)
            if let broken { return fail(broken.promise, broken.detail) }
            // Somebody may have asked again, and been told so before.
            isNew = always.counts(sighting, by: node.replica.rawValue)
        case 504:
            let written = (try? JSONReader.parse(Array(bytes[body])))?["written"]
            guard let sighting = written.flatMap({ Sighting($0) }), sighting.key == ledger[place].key else {
                return fail("who waits in vain is told what is written", Cluster.text(Array(bytes[body])))
            }
            always.note(EntryName(replica: sighting.replica, sequence: sighting.sequence), of: place)
            isNew = always.counts(sighting, by: node.replica.rawValue)
        default: return
        }
        guard isNew else { return }
        ledger[place].copies += 1
        if ledger[place].copies == 2 { tally.add(.copies) }
    }

    /// A node answers; the agent hears of it a little later, if at all.
    func replied(to call: Int, _ answer: Answer, _ stamp: HybridTimestamp?, _ node: Node) {
        crowd.calls[call].isAnswered = true
        if node.openWrites.remove(call) != nil, case .graph(let place) = crowd.calls[call].errand {
            ledger.graph.ended(place)
        }
        switch (answer.status, crowd.calls[call].errand) {
        case (504, .graph(let place)): ledger.graph.neverAnswered(place)
        case (504, _), (..<400, _), (_, .graph), (_, .read), (_, .social): break
        case (_, .event(let place, _)): ledger[place].refusals += 1
        }
        if let broken = isLessThanAsked(answer, crowd.calls[call], node) { fail(broken.promise, broken.detail) }
        if answer.status == 507, let broken = refusedForRoom(node) { fail(broken.promise, broken.detail) }
        if let broken = brokenWait(answer, crowd.calls[call], node) { fail(broken.promise, broken.detail) }
        if case .graph(let place) = crowd.calls[call].errand, answer.status < 300 {
            let write = ledger.graph.writes[place]
            if let id = write.node ?? (try? JSONReader.parse(answer.body))?["id"]?.text, let stamp {
                crowd.calls[call].taken = .graph(id: id, stamp)
                ledger.graph.take(
                    place, of: id, at: stamp, now: now, by: crowd.calls[call].acknowledgement(nodes.count))
            } else if !write.mayChangeNothing {
                fail("a write to the graph is answered with its stamp", "\(answer.status) at node \(node.index)")
            }
        }
        if case .social(let place) = crowd.calls[call].errand { decided(place, answer, stamp, crowd.calls[call]) }
        agenda.add(.answer(call: call, answer), at: now + crowd.delay())
    }

    /// A write that is acknowledged has reached what was asked for, and says so; one that is not says why.
    private func isLessThanAsked(_ answer: Answer, _ call: Call, _ node: Node) -> Violation? {
        guard call.level != .local else { return nil }
        let needed = call.level.nodes(nodes.count)
        let reached = answer.reached?.nodes(nodes.count) ?? 0
        if answer.status < 300, reached < needed {
            return Violation(
                "a write is acknowledged at the level that was asked for",
                "ack=\(call.level) answered \(answer.status) with \(answer.reached?.description ?? "nothing") at node "
                    + "\(node.index)")
        }
        let durable = nodes.indices.count(where: options.hasDisk)
        let counted = if case .memory = call.level { nodes.count } else { durable }
        if answer.status < 300, reached > counted {
            return Violation("no more nodes confirm a write than there are", "\(reached) of \(counted)")
        }
        return nil
    }

    /// A request waits for its clock as long as it may, unless its node is leaving; and what it is told to be lost is.
    private func brokenWait(_ answer: Answer, _ call: Call, _ node: Node) -> Violation? {
        // A stopped process is given what came meanwhile all at once, and its clocks run at speeds of their own.
        let waitedMs = (now - call.tookAt) / 1_000
        if answer.isTooEarly, node.state == .up, waitedMs < Cluster.clockWaitMs * 9 / 10 {
            return Violation(
                "a request waits for its clock as long as it may", "\(waitedMs) ms at node \(node.index)")
        }
        // What was held back for a disk, or for other nodes to confirm the write, was right when it was said.
        guard node.disk == nil, call.level == .local else { return nil }
        do throws(Violation) { if let lost = answer.lost { try isLostIndeed(lost, at: node) } } catch { return error }
        return nil
    }

    func answered(call: Int, _ answer: Answer) {
        guard !crowd.calls[call].isDone else { return }
        if answer.status == 503 || answer.status == 507 {
            if answer.status == 503 { tally.add(.unavailable) }
            return retry(call: call)
        }
        finish(call)
        let call = crowd.calls[call]
        if let verdict = call.verdict(answer) { return tally.add(verdict) }
        if call.level != .local, answer.status < 300 { tally.add(.strongAcks) }
        switch call.errand {
        case .event(let place, let other): posted(place, other: other, answer, call)
        case .graph(let place): written(place, answer, call)
        case .read(let subject): told(subject, answer, call)
        // What it means was noted when the node said it.
        case .social: break
        }
    }

    private func refused(_ answer: Answer, _ call: Call) {
        fail("a valid request is accepted", "node \(call.node) answered \(answer.status): \(Self.text(answer))")
    }

    private static func text(_ answer: Answer) -> String { text(answer.body) }
    private static func text(_ body: [UInt8]) -> String { String(decoding: body.prefix(300), as: UTF8.self) }

    private func remember(_ subject: Memory.Subject, _ answer: Answer, _ call: Call) {
        guard let clock = answer.clock else { return }
        crowd.agents[call.agent].remember(Memory(subject: subject, clock: clock, node: call.node))
    }

    private func posted(_ place: Int, other: Bool, _ answer: Answer, _ call: Call) {
        switch answer.status {
        case 200, 201:
            guard let sighting = Sighting(answer.body, 0..<answer.body.count), sighting.key == ledger[place].key else {
                return fail("an accepted event is answered whole, with its id", Self.text(answer))
            }
            let body = other ? ledger[place].otherBody! : ledger[place].body
            if answer.status == 200, !Doors.answers(answer.body, to: body) {
                return fail("an answer to a post says what was posted", Self.text(answer))
            }
            if answer.status == 200 { tally.add(.repeats) }
            ledger[place].acknowledgements.append(call.acknowledgement(nodes.count))
            crowd.remember(place)
            remember(.event(place), answer, call)
        case 409 where ledger[place].otherBody != nil: tally.add(.refusedConflicts)
        default: refused(answer, call)
        }
    }

    private func written(_ place: Int, _ answer: Answer, _ call: Call) {
        let write = ledger.graph.writes[place]
        switch answer.status {
        case 200, 201:
            do throws(Violation) {
                let id = try Finally.graphAnswer(
                    (try? JSONReader.parse(answer.body)) ?? .null, to: write, at: place)
                if write.makesNode, crowd.graphNodes.count < 8, !crowd.graphNodes.contains(id) {
                    crowd.graphNodes.append(id)
                }
            } catch { return fail(error.promise, error.detail) }
        case 204 where write.removes && answer.body.isEmpty: break
        // The node has not heard of it yet, or its only holder died, or it was removed.
        case 404 where !write.makesNode: return
        // Another has made or changed it since.
        case 409 where write.makesNode && write.isRepeatable: return
        default: return refused(answer, call)
        }
        tally.add(write.removes ? .graphRemovals : .graphWrites)
        if let taken = call.taken { remember(taken, answer, call) }
    }

    /// An agent that shows what it has seen reads at least that.
    private func told(_ subject: Memory.Subject, _ answer: Answer, _ call: Call) {
        guard answer.status == 200 || answer.status == 404 else { return refused(answer, call) }
        // What only a dead log held, the answer says, is lost; and under a copied id the same number means two things.
        // Whoever has accepted a loss does not wait for what is lost.
        guard answer.lost == nil, !sharesIDs, tally[.refusedStarts] == 0 else { return }
        tally.add(.clockReads)
        let json = answer.status == 200 ? (try? JSONReader.parse(answer.body)) ?? .null : nil
        switch subject {
        case .event(let place):
            // Where logs are short, an event may be gone.
            guard json != nil || options.keptEntries == 0 else { return }
            guard json?["id"] == .string(ledger[place].key.text) else {
                return fail(
                    "a read with a clock covers the write that the clock came from",
                    "node \(call.node) answers \(answer.status) for event \(ledger[place].key.text)")
            }
        case .graph(let id, let stamp):
            do throws(Violation) {
                try Finally.showsAtLeast(stamp, of: id, json, ledger: ledger.graph, lastReset: lastReset)
            } catch { return fail(error.promise, "node \(call.node): \(error.detail)") }
        }
        remember(subject, answer, call)
    }

    /// The agent got no answer: it asks another node, with the same id.
    func retry(call: Int) {
        guard !crowd.calls[call].isDone else { return }
        finish(call)
        let last = crowd.calls[call]
        guard last.attempt < 12 else { return }
        if case .graph(let place) = last.errand, !ledger.graph.writes[place].isRepeatable { return }
        if case .social(let place) = last.errand, !society.acts[place].isRepeatable { return }
        tally.add(.retries)
        let elsewhere = nodes.count == 1 ? 0 : (last.node + 1 + crowd.roll(nodes.count - 1)) % nodes.count
        crowd.agents[last.agent].home = elsewhere
        begin(
            last.errand, agent: last.agent, at: elsewhere, attempt: last.attempt + 1, clock: last.clock,
            level: last.level, askedAt: last.askedAt, after: crowd.patience())
    }

    private func finish(_ call: Int) {
        crowd.calls[call].isDone = true
        let node = nodes[crowd.calls[call].node]
        if let place = node.openCalls.firstIndex(of: call) { node.openCalls.swapAt(place, node.openCalls.count - 1) }
        if node.openCalls.last == call { node.openCalls.removeLast() }
    }

    /// Requests that are neither answered nor given up.
    var openErrands: Int { crowd.calls.count { !$0.isDone } }
}

extension Request {
    /// The request that asks for a write to the graph.
    init(_ write: GraphWrite) {
        self =
            switch write.what {
            case .node: .postNode
            case .retype(let id), .note(let id), .unnote(let id): .patchNode(id: id)
            case .remove(let id): .deleteNode(id: id)
            case .edge(let from, _): .postEdge(node: from)
            case .cut(let from, let edge): .deleteEdges(node: from, to: edge.to, type: edge.type)
            }
    }
}

extension Call {
    /// What an answer that says yes promises.
    func acknowledgement(_ size: Int) -> Acknowledgement {
        let copies = level.nodes(size)
        return Acknowledgement(node: node, history: history, copies: copies, at: askedAt)
    }

    /// What an answer is that says neither yes nor no: that too few could confirm, or too few did in time. Then the write
    /// stays where it is, and spreads or not.
    func verdict(_ answer: Answer) -> Trouble? {
        guard level != .local else { return nil }
        switch answer.status {
        case 409 where answer.isAboutMembers: return .tooFew
        case 504: return .tooLate
        default: return nil
        }
    }
}

extension AckLevel {
    /// How many nodes of a cluster of this size it asks for at least.
    func nodes(_ size: Int) -> Int {
        switch self {
        case .local: 1
        case .disks(let count), .memory(let count): count
        case .majority: size / 2 + 1
        }
    }
}
