internal import NodeCore
internal import Transport

/// All routes, and the schemas that they share: each part of the API adds its own.
enum API {
    static let endpoints: [Endpoint] =
        events + graph + bus + groups + messages + agents + registry + attention + chats + turns + tasks + context
        + soormaEvents + soormaRegistry + soormaMemory + soormaRecall + soormaTracker + node
    static let schemas: [NamedSchema] =
        commonSchemas + eventSchemas + graphSchemas + busSchemas + groupSchemas + messageSchemas + agentSchemas
        + attentionSchemas + chatSchemas + turnSchemas + taskSchemas + contextSchemas
        + soormaEventSchemas + soormaRegistrySchemas + soormaMemorySchemas + soormaRecallSchemas + soormaTrackerSchemas
        + nodeSchemas

    /// What is served only where tests asked for it.
    static let testEndpoints: [Endpoint] = [
        Endpoint(
            method: .get, path: "/ws/echo", tag: .cluster, summary: "A WebSocket that gets back what it sends",
            answers: [Answer.switching], make: { _, _, _ in .echo })
    ]

    static let commonSchemas: [NamedSchema] = [
        NamedSchema(
            name: "Error",
            schema: .object([.required("message", .text(), "What is wrong, and what to do.")]))
    ]

    typealias Answer = Endpoint.Answer
    typealias Parameter = Endpoint.Parameter
    typealias Content = Endpoint.Content
}

extension Endpoint.Answer {
    /// The connection speaks WebSocket from now on.
    static let switching = Endpoint.Answer(status: 101, about: "The connection is a WebSocket from now on.")
}
