internal import NodeCore

/// What lies under `/api/bus`: direct messages and mailboxes.
extension Route {
    /// `path` is what follows `/api/bus`.
    static func bus(_ path: [String], _ query: Query) throws(BadQuery) -> Methods? {
        switch (path[0], path.count) {
        case ("messages", 1): return Methods(post: .bus(.postMessage))
        case ("mailbox", 3...) where path.last == "take":
            // A name with slashes may come unencoded.
            let agent = path[1..<path.count - 1].joined(separator: "/")
            let most = try query.number("max") ?? NodeCore.defaultTake
            return Methods(action: .bus(.take(agent: agent, type: query["type"], most: most)))
        case ("mailbox", 2...):
            return Methods(delete: .bus(.closeMailbox(agent: path[1...].joined(separator: "/"))))
        case ("peek", 1):
            let most = try query.number("max") ?? defaultLimit
            return Methods(read: .ask(.bus(.peek(agent: try agent(query), type: query["type"], most: most))))
        case ("count", 1): return Methods(read: .ask(.bus(.count(agent: try agent(query), type: query["type"]))))
        case ("history", 1):
            let limit = try query.page(default: defaultLimit).limit
            return Methods(
                read: .ask(.bus(.history(agent: query["agent"], since: query["since"], limit: limit))))
        case ("conversation", 2...):
            let limit = try query.page(default: maximumLimit).limit
            return Methods(
                read: .ask(.bus(.conversation(path[1...].joined(separator: "/"), limit: limit))))
        case ("stats", 1): return Methods(read: .ask(.bus(.stats)))
        default: return nil
        }
    }

    private static func agent(_ query: Query) throws(BadQuery) -> String {
        guard let agent = query["agent"], !agent.isEmpty else {
            throw BadQuery(message: "Validation error: query parameter agent: required, the agent whose mailbox it is")
        }
        return agent
    }
}
