internal import CRDT
internal import Gossip
internal import NodeCore

/// What agents and subscribers do, and what becomes of it.
extension Cluster {
    /// From now on agents post and subscribers wander.
    func startCrowd() {
        crowd.isActive = true
        for agent in crowd.agents.indices { agenda.add(.agent(agent), at: now + nap(of: agent)) }
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
        switch crowd.agents[agent].roll(24) {
        case 0, 1:
            let place = ledger.write(crowd.graphWrite(by: agent))
            begin(.graph(place), agent: agent, at: home)
        default: post(agent: agent, at: home)
        }
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

    private func begin(_ errand: Call.Errand, agent: Int, at node: Int, attempt: Int = 0, after wait: UInt64 = 0) {
        let call = crowd.calls.count
        crowd.calls.append(Call(errand: errand, agent: agent, node: node, attempt: attempt))
        let sent = now + wait
        agenda.add(.call(call), at: sent + crowd.delay())
        agenda.add(.impatience(call: call), at: sent + 2_000_000)
    }

    func arrive(call: Int) {
        let node = nodes[crowd.calls[call].node]
        guard node.isRunning, node.state == .up else {
            return agenda.add(.broken(call: call), at: now + crowd.delay())
        }
        crowd.calls[call].life = node.life
        node.openCalls.append(call)
        let id = RequestID(UInt64(call) + 1)
        switch crowd.calls[call].errand {
        case .event(let place, let other):
            feed(node, .request(id, .postEvent), other ? ledger[place].otherBody! : ledger[place].body)
        case .graph(let place):
            let write = ledger.graph[place]
            switch write.what {
            case .node: feed(node, .request(id, .postNode), write.body(place))
            case .edge(let from, _): feed(node, .request(id, .postEdge(node: from)), write.body(place))
            }
        }
    }

    func answered(call: Int, _ status: UInt16, _ body: [UInt8]) {
        guard !crowd.calls[call].isDone else { return }
        let errand = crowd.calls[call].errand
        if status == 503 {
            tally.add(.unavailable)
            return retry(call: call)
        }
        finish(call)
        let text = { String(decoding: body.prefix(300), as: UTF8.self) }
        switch (errand, status) {
        case (.event(let place, let other), 200), (.event(let place, let other), 201):
            guard let sighting = Sighting(body, 0..<body.count), sighting.key == ledger[place].key else {
                return fail("an accepted event is answered whole, with its id", text())
            }
            if status == 200, !Doors.answers(body, to: other ? ledger[place].otherBody! : ledger[place].body) {
                return fail("an answer to a post says what was posted", text())
            }
            if status == 200 { tally.add(.repeats) }
            let call = crowd.calls[call]
            ledger[place].acknowledgements.append(.init(node: call.node, life: call.life))
            crowd.remember(place)
        case (.event(let place, _), 409) where ledger[place].otherBody != nil: tally.add(.refusedConflicts)
        case (.graph(let place), 200), (.graph(let place), 201): written(place, body, call: crowd.calls[call])
        // This node has not heard of the edge's end yet, or its only holder died.
        case (.graph(let place), 404) where ledger.graph[place].isEdge: break
        default:
            fail("a valid request is accepted", "node \(crowd.calls[call].node) answered \(status): \(text())")
        }
    }

    private func written(_ place: Int, _ body: [UInt8], call: Call) {
        tally.add(.graphWrites)
        do throws(Violation) {
            let answer = (try? JSONReader.parse(body)) ?? .null
            let id = try Finally.graphAnswer(answer, to: ledger.graph[place], at: place)
            ledger.acknowledge(graph: place, id: id, by: .init(node: call.node, life: call.life))
            if !ledger.graph[place].isEdge, crowd.graphNodes.count < 8 { crowd.graphNodes.append(id) }
        } catch { fail(error.promise, error.detail) }
    }

    /// The agent got no answer: it asks another node, with the same id.
    func retry(call: Int) {
        guard !crowd.calls[call].isDone else { return }
        finish(call)
        let last = crowd.calls[call]
        guard last.attempt < 12 else { return }
        if case .graph(let place) = last.errand, !ledger.graph[place].isRepeatable { return }
        tally.add(.retries)
        let elsewhere = nodes.count == 1 ? 0 : (last.node + 1 + crowd.roll(nodes.count - 1)) % nodes.count
        crowd.agents[last.agent].home = elsewhere
        begin(last.errand, agent: last.agent, at: elsewhere, attempt: last.attempt + 1, after: crowd.patience())
    }

    private func finish(_ call: Int) {
        crowd.calls[call].isDone = true
        let node = nodes[crowd.calls[call].node]
        if let place = node.openCalls.firstIndex(of: call) { node.openCalls.swapAt(place, node.openCalls.count - 1) }
        if node.openCalls.last == call { node.openCalls.removeLast() }
    }

    /// Requests that are neither answered nor given up.
    var openErrands: Int { crowd.calls.count { !$0.isDone } }

    // MARK: Subscribers

    /// A new subscriber at a running node.
    @discardableResult
    func openSession(at node: Node, filter: String?) -> SessionID {
        let id = SessionID(UInt64(sessions.count) + 1)
        let session = Session(
            id: id, node: node.index, life: node.life, filter: filter,
            openedAfter: node.sessions.isEmpty ? 0 : node.witness.shown.count)
        session.missesHistory = node.snapshots > 0
        sessions.append(session)
        node.sessions.append(session)
        feed(node, .sessionOpened(id))
        if let filter {
            feed(node, .sessionText(id), Array("{\"type\":\"subscribe\",\"filter\":{\"scope\":\"\(filter)\"}}".utf8))
        }
        return id
    }

    func session(_ id: SessionID, at node: Node) -> Session? {
        let place = Int(id.rawValue) - 1
        guard sessions.indices.contains(place), sessions[place].node == node.index, sessions[place].life == node.life
        else {
            fail("a node speaks only to its own subscribers", "node \(node.index) named session \(id.rawValue)")
            return nil
        }
        return sessions[place].isOpen ? sessions[place] : nil
    }

    func wander(_ wanderer: Int) {
        guard crowd.isActive else { return }
        agenda.add(.wanderer(wanderer), at: now + 1_000_000 + UInt64(crowd.roll(8_000_000)))
        if let id = crowd.wanderers[wanderer] {
            let session = sessions[Int(id.rawValue) - 1]
            let node = nodes[session.node]
            if session.isOpen, !node.isPaused {
                session.isOpen = false
                node.sessions.removeAll { $0 === session }
                feed(node, .sessionClosed(id))
            }
            if session.isOpen { return }
        }
        let node = nodes[crowd.roll(nodes.count)]
        let filter = crowd.filter()
        crowd.wanderers[wanderer] = nil
        guard node.isRunning, node.state == .up, !node.isPaused else { return }
        crowd.wanderers[wanderer] = openSession(at: node, filter: filter)
    }

    // MARK: What subscribers are shown

    /// One text message for these subscribers.
    func show(_ bytes: [UInt8], _ range: Range<Int>, to sessions: [Session], of node: Node) {
        guard let message = Message(bytes, range) else {
            return fail("subscribers get JSON", String(decoding: bytes[range].prefix(300), as: UTF8.self))
        }
        guard case .event(let sighting) = message else {
            if case .error(let text) = message { fail("a well-behaved subscriber gets no error", text) }
            return
        }
        guard let place = ledger.place(of: sighting.key) else {
            return fail("nobody is shown what nobody posted", "\(sighting.key.text) at node \(node.index)")
        }
        for session in sessions {
            tally.add(.deliveries)
            if session === node.witness {
                if sighting.stamp < session.youngest { tally.add(.lateEntries) }
            }
            if let broken = always.shown(sighting, place: place, to: session, witness: node.witness, ledger) {
                return fail(broken.promise, broken.detail)
            }
        }
    }
}
