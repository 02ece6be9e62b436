internal import CRDT
internal import NodeCore

/// What agents did among each other, once all is quiet: every node shows the same to the byte, nothing that a survivor
/// acknowledged is lost, and nothing outlives its lease.
extension Cluster {
    /// Where everything of the society can be read.
    private static var views: [(name: String, request: Request)] {
        let operators = Asker()
        var views: [(name: String, request: Request)] = [
            (
                "manifests",
                .agents(.manifests(status: nil, resource: nil, capability: nil, after: nil, limit: 100), by: operators)
            ),
            ("tasks", .tasks(.tasks(status: nil, skill: nil, agent: nil, before: nil, limit: 100), by: operators)),
            (
                "context",
                .context(
                    .entries(namespace: SocialAct.namespace, after: nil, limit: 100, withValues: true), by: operators)
            ),
        ]
        for chat in Society.chats {
            views.append(("chat \(chat)", .chats(.chat(chat), by: operators)))
            views.append(
                (
                    "messages of \(chat)",
                    .chats(.messages(chat: chat, after: nil, before: nil, limit: 10_000), by: operators)
                ))
            views.append(("speaker of \(chat)", .turns(.speaker(chat: chat), by: operators)))
        }
        for agent in Society.agents {
            views.append(("reputation of \(agent)", .tasks(.reputation(agent: SocialAct.name(agent)), by: operators)))
        }
        return views
    }

    /// Turns and claims end by themselves, and what failed is open again after a pause.
    func settleSociety() throws(Violation) {
        guard options.isSocial else { return }
        try run(milliseconds: UInt64(Society.leaseMs) + 2_000)
        if let problem = try distrust() { throw Violation("once it is calm nobody is called dead", problem) }
    }

    /// Checks what all nodes show against each other and against what was done.
    func societyAgrees(_ survivors: [Node], _ survives: (Acknowledgement) -> Bool) throws(Violation) {
        guard options.isSocial, let first = survivors.first else { return }
        var shown: [String: JSON] = [:]
        // Of short logs each node holds as much as it has read since it started.
        let views = Self.views.filter { options.keptEntries == 0 && !hadHoles || !$0.name.hasPrefix("messages") }
        for (name, request) in views {
            let (status, body) = try ask(first, request)
            let json = (try? JSONReader.parse(body)) ?? .null
            guard status == 200 || status == 404 else {
                throw Violation("a view of the society is shown", "\(name): \(status) at node \(first.index)")
            }
            if status == 200 { shown[name] = json }
            for other in survivors.dropFirst() {
                var (theirs, bytes) = try ask(other, request)
                // A chat's last activity is that of its last message that is held.
                if options.keptEntries > 0, name.hasPrefix("chat "), let mine = json.without("last_activity"),
                    mine == (try? JSONReader.parse(bytes))?.without("last_activity")
                {
                    (theirs, bytes) = (status, body)
                }
                guard theirs != status || bytes != body else { continue }
                throw Violation(
                    "every node shows the same of agents, chats, turns and tasks",
                    "\(name): node \(first.index) says \(status) \(Self.difference(body, bytes)) node \(other.index) "
                        + "\(theirs)")
            }
        }
        society.messageCount =
            views.count < Self.views.count
            ? nil
            : shown.filter { $0.key.hasPrefix("messages") }.values.reduce(0) {
                $0 + ($1.array?.count ?? 0)
            }
        // Whoever starts anew says again what it kept, and of short logs and lost disks not everything is known.
        guard resets == 0, options.keptEntries == 0, !sharesIDs, !hadHoles else { return }
        try lastWritesShow(shown, survives)
        try membersAreRight(shown, survives)
        try messagesAreThere(shown, survives)
        try tasksAreRight(shown, survives)
    }

    /// Where two texts begin to differ.
    private static func difference(_ a: [UInt8], _ b: [UInt8]) -> String {
        var at = 0
        while at < min(a.count, b.count), a[at] == b[at] { at += 1 }
        func part(_ text: [UInt8]) -> String {
            String(decoding: text[max(0, min(at, text.count) - 80)..<min(text.count, at + 120)], as: UTF8.self)
        }
        return "\(part(a)) | \(part(b))"
    }

    // MARK: Last writes

    /// Acts that were done for certain, by survivors, of those that matter.
    private func done(
        _ survives: (Acknowledgement) -> Bool, where matters: (SocialAct.What) -> Bool
    ) -> [(act: SocialAct.What, done: SocialDone)] {
        society.done.filter { survives($0.holder) && matters(society.acts[$0.place].what) }
            .map { (society.acts[$0.place].what, $0) }
    }

    /// A field shows the last write that a survivor acknowledged, or one that came later or may have.
    private func lastWritesShow(_ shown: [String: JSON], _ survives: (Acknowledgement) -> Bool) throws(Violation) {
        // Whoever is introduced again begins without what its profile said.
        func mayComeAfter(_ stamp: HybridTimestamp, _ what: SocialAct.What) -> Bool {
            society.done.contains { society.acts[$0.place].what == what && $0.stamp.map { $0 > stamp } ?? true }
                || society.unanswered.contains { society.acts[$0].what == what }
        }
        func check(
            _ what: String, _ value: JSON?, introduction: SocialAct.What? = nil, _ isWrite: (SocialAct.What) -> Bool
        ) throws(Violation) {
            let certain = done(survives, where: isWrite)
            guard let last = certain.compactMap(\.done.stamp).max() else { return }
            var allowed = Set(certain.filter { $0.done.stamp == last }.map(\.done.place))
            for other in society.done where isWrite(society.acts[other.place].what) {
                if other.stamp.map({ $0 > last }) ?? true { allowed.insert(other.place) }
            }
            allowed.formUnion(society.unanswered.filter { isWrite(society.acts[$0].what) })
            if value == nil, let introduction, mayComeAfter(last, introduction) { return }
            guard let number = value?.number.flatMap({ Int(exactly: $0) }), allowed.contains(number) else {
                throw Violation(
                    "a field shows the last write that a survivor acknowledged, or a later one",
                    "\(what) shows \(value.map { "\($0)" } ?? "nothing"), not one of \(allowed.sorted())")
            }
        }
        let manifests = shown["manifests"]?.array ?? []
        // The one who comes and goes takes its profile along.
        for agent in Society.agents.dropLast() {
            let manifest = manifests.first { $0["agent_id"]?.text == SocialAct.name(agent) }
            for key in 0..<Society.keys {
                try check(
                    "profile k\(key) of \(agent)", manifest?["public_profile"]?["k\(key)"],
                    introduction: .introduce(agent)
                ) {
                    $0 == .profile(agent, key: key)
                }
            }
        }
        for key in 0..<Society.keys {
            let entries = shown["context"]
            let value =
                entries?["k\(key)"] ?? entries?["values"]?["k\(key)"]
                ?? entries?.array?.first { $0["key"]?.text == "k\(key)" }?["value"]
            try check("context k\(key)", value?["value"] ?? value) { $0 == .context(key: key) }
        }
    }

    // MARK: Members

    /// A member that was removed stays removed whatever role it was given, and whoever was brought in last is in.
    private func membersAreRight(_ shown: [String: JSON], _ survives: (Acknowledgement) -> Bool) throws(Violation) {
        for chat in Society.chats {
            guard let participants = shown["chat \(chat)"]?["participants"]?.array?.compactMap(\.text) else { continue }
            for agent in Society.agents.dropFirst().dropLast() {
                func isEntry(_ what: SocialAct.What) -> Bool {
                    if case .bringIn(chat, agent, _) = what { true } else { what == .makeChat(chat) }
                }
                func isExit(_ what: SocialAct.What) -> Bool { what == .takeOut(chat: chat, agent) }
                let doubtful = society.unanswered.map { society.acts[$0].what }
                // 201 brought somebody in, 200 gave a role alone.
                let entries = society.done.filter { $0.status == 201 && isEntry(society.acts[$0.place].what) }
                let exits = society.done.filter { isExit(society.acts[$0.place].what) }
                let isIn = participants.contains(SocialAct.name(agent))
                func last(_ list: [SocialDone], _ survives: (Acknowledgement) -> Bool) -> HybridTimestamp? {
                    list.filter { survives($0.holder) }.compactMap(\.stamp).max()
                }
                if isIn, let exit = last(exits, survives),
                    !entries.contains(where: { $0.stamp.map { $0 > exit } ?? true }),
                    !doubtful.contains(where: isEntry)
                {
                    throw Violation(
                        "a member that was removed stays removed, whatever role the other side gave it",
                        "\(SocialAct.name(agent)) in \(chat)")
                }
                if !isIn, let entry = last(entries, survives),
                    !exits.contains(where: { $0.stamp.map { $0 > entry } ?? true }), !doubtful.contains(where: isExit)
                {
                    throw Violation("whoever was brought in last is a member", "\(SocialAct.name(agent)) in \(chat)")
                }
            }
        }
    }

    // MARK: Messages

    /// A message that was accepted is there, once; it is tagged if its sender was out by then, and only then.
    private func messagesAreThere(_ shown: [String: JSON], _ survives: (Acknowledgement) -> Bool) throws(Violation) {
        for chat in Society.chats {
            guard let messages = shown["messages of \(chat)"]?.array else { continue }
            var found: [String: JSON] = [:]
            for message in messages {
                guard let id = message["id"]?.text, found.updateValue(message, forKey: id) == nil else {
                    throw Violation("no message is listed twice", "\(message)")
                }
            }
            let said = done(survives) { if case .say(chat, _, _) = $0 { true } else { false } }
            for case (.say(_, let agent, let id), let done) in said {
                guard let message = found[id] else {
                    throw Violation(
                        "no message is lost that a survivor acknowledged",
                        "\(id) in \(chat), by node \(done.holder.node)")
                }
                guard message["content"]?.text == "\(done.place)", message["from"]?.text == SocialAct.name(agent) else {
                    throw Violation("a message says what was sent", "\(message)")
                }
                let wasEverOut = (society.done.map(\.place) + society.unanswered).contains { place in
                    switch society.acts[place].what {
                    case .takeOut(chat, agent), .retire(agent): true
                    default: false
                    }
                }
                if message["after_removal"] == .bool(true), !wasEverOut {
                    throw Violation("only who was removed speaks after a removal", "\(message)")
                }
            }
        }
    }

    // MARK: Turns and tasks

    /// Whoever has a turn or a task gives it back when its time is over, and a result that was accepted stays one.
    private func tasksAreRight(_ shown: [String: JSON], _ survives: (Acknowledgement) -> Bool) throws(Violation) {
        let tasks = shown["tasks"]?.array ?? []
        for task in tasks
        where task["status"]?.text == "claimed" && task["lease_ms"] == .number(Double(Society.leaseMs)) {
            throw Violation("no claim outlives its lease", "\(task)")
        }
        let completed = done(survives) { if case .complete = $0 { true } else { false } }
        for case (.complete(let id, _, _), let done) in completed {
            guard let task = tasks.first(where: { $0["id"]?.text == id }), task["status"]?.text == "completed" else {
                throw Violation(
                    "a task that a survivor took as completed stays completed", "\(id), by node \(done.holder.node)")
            }
            let results = (society.done.map(\.place) + society.unanswered).filter { place in
                if case .complete(id, _, _) = society.acts[place].what { true } else { false }
            }
            guard let result = task["result"]?.number.flatMap({ Int(exactly: $0) }), results.contains(result) else {
                throw Violation("a task's result is one that somebody gave", "\(task)")
            }
        }
    }
}

extension Request {
    /// Whether another node may have to decide it.
    var mayBeForwarded: Bool {
        switch self {
        case .turns, .tasks: true
        default: false
        }
    }
}
