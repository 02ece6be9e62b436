internal import NodeCore
internal import Transport

/// Shared context (docs/context.md).
extension API {
    static let context: [Endpoint] = [namespaces, contextKeys, contextHistory, contextWatch] + contextValues

    private static let namespaces = Endpoint(
        method: .get, path: "/api/context", tag: .context, summary: "List namespaces",
        about: "In the order of their names. A namespace is made by its first key and stays, be it empty.",
        parameters: [
            .init(name: "after", schema: .text(), about: "Only those whose name comes after this one."), limit,
        ],
        answers: [.init(status: 200, about: "The namespaces.", schema: .array(.named("ContextNamespace")))]
    ) { _, query, caller throws(BadQuery) in
        let limit = try query.page(default: Route.defaultLimit).limit
        return .ask(.context(.namespaces(after: query["after"], limit: limit), by: caller.asker))
    }

    private static let contextKeys = Endpoint(
        method: .get, path: "/api/context/{namespace}", tag: .context, summary: "List a namespace's keys and values",
        about: "In the order of their names; an unknown namespace is empty.",
        parameters: [
            namespace, .init(name: "after", schema: .text(), about: "Only those whose name comes after this one."),
            .init(name: "values", schema: .text(choices: ["true", "false"]), about: "`false` leaves the values out."),
            limit,
        ],
        answers: [.init(status: 200, about: "The entries.", schema: .array(.named("ContextEntry")))]
    ) { path, query, caller throws(BadQuery) in
        let limit = try query.page(default: Route.defaultLimit).limit
        let values = query["values"] ?? "true"
        guard values == "true" || values == "false" else { throw query.refusal("values", "true or false", values) }
        let request = ContextRequest.entries(
            namespace: path["namespace"] ?? "", after: query["after"], limit: limit, withValues: values == "true")
        return .ask(.context(request, by: caller.asker))
    }

    private static let contextHistory = Endpoint(
        method: .get, path: "/api/context/{namespace}/history", tag: .context, summary: "List a namespace's changes",
        about: "The newest first, as far back as the logs reach.",
        parameters: [
            namespace, .init(name: "key", schema: .text(), about: "Only changes of this key."),
            .init(
                name: "before", schema: .text(),
                about: "Only changes before this one: its id, its stamp, or a time like 2026-01-31T12:00:00Z."), limit,
        ],
        answers: [.init(status: 200, about: "The changes.", schema: .array(.named("ContextChange")))]
    ) { path, query, caller throws(BadQuery) in
        let page = try query.page(default: Route.defaultLimit)
        return .ask(
            .context(.history(namespace: path["namespace"] ?? "", key: query["key"], page), by: caller.asker))
    }

    private static let contextWatch = Endpoint(
        method: .get, path: "/api/context/{namespace}/watch", tag: .context,
        summary: "Watch a namespace as Server-Sent Events",
        about:
            "The same as `/api/stream?topic=ContextEvents.{namespace}`, with its cursors: each change comes as a bus event of "
            + "type `ContextChanged` whose `data` hold the change. On `/ws`, subscribe to that topic.",
        parameters: [
            namespace, .init(name: "cursor", schema: .text(), about: "Where to go on; without one, from now on."),
            .init(
                name: "Last-Event-ID", place: .header, schema: .text(), about: "The same, from browsers; counts more."),
            .init(name: "agents", schema: .text(), about: "Only changes by these agents, separated by commas."),
        ],
        answers: [.init(status: 200, about: "The stream.", schema: .text(), type: "text/event-stream")]
    ) { path, query, caller throws(BadQuery) in
        var wish = try query.wish(lastEventID: caller.lastEventID)
        (wish.scope, wish.topic, wish.types) = (nil, NodeCore.contextTopic(path["namespace"] ?? ""), [])
        return .ask(.stream(wish))
    }

    private static let contextValues: [Endpoint] = [
        Endpoint(
            method: .get, path: keyPath, tag: .context, summary: "Read a key", parameters: [namespace, key],
            answers: [
                .init(status: 200, about: "What it holds.", schema: .named("ContextEntry")),
                .init(status: 404, about: "Nothing is there.", schema: .named("Error")),
            ]
        ) { path, _, caller in ask(path, caller) { .value(namespace: $0, key: $1) } },
        Endpoint(
            method: .put, path: keyPath, tag: .context, summary: "Set a key",
            about: "Of two nodes that set it at once, the later write stays; both are in the history.",
            parameters: [namespace, key], body: .init(schema: .named("ContextValue")),
            answers: [
                .init(status: 200, about: "It was there, and holds this now.", schema: .named("ContextEntry")),
                .init(status: 201, about: "It is new.", schema: .named("ContextEntry")),
                .init(status: 403, about: "Somebody else asks than `agent_name` says.", schema: .named("Error")),
                .init(status: 413, about: "Longer than 512 KiB.", schema: .named("Error")),
                .init(status: 507, about: "No room for more namespaces or keys.", schema: .named("Error")),
            ]
        ) { path, _, caller in ask(path, caller) { .set(namespace: $0, key: $1) } },
        Endpoint(
            method: .patch, path: keyPath, tag: .context, summary: "Change a part of a key's value",
            about: "`value` is a JSON merge patch (RFC 7396) of the value that this node has read.",
            parameters: [namespace, key],
            body: .init(schema: .named("ContextValue")),
            answers: [
                .init(status: 200, about: "What it holds now.", schema: .named("ContextEntry")),
                .init(status: 403, about: "Somebody else asks than `agent_name` says.", schema: .named("Error")),
                .init(status: 404, about: "Nothing is there.", schema: .named("Error")),
                .init(status: 413, about: "Longer than 512 KiB.", schema: .named("Error")),
            ]
        ) { path, _, caller in ask(path, caller) { .patch(namespace: $0, key: $1) } },
        Endpoint(
            method: .delete, path: keyPath, tag: .context, summary: "Delete a key", parameters: [namespace, key],
            answers: [
                .init(status: 204, about: "It is gone."),
                .init(status: 404, about: "Nothing is there.", schema: .named("Error")),
            ]
        ) { path, _, caller in ask(path, caller) { .delete(namespace: $0, key: $1) } },
    ]

    private static func ask(
        _ path: [String: String], _ caller: Caller, _ make: (_ namespace: String, _ key: String) -> ContextRequest
    ) -> Route {
        .ask(.context(make(path["namespace"] ?? "", path["key"] ?? ""), by: caller.asker))
    }

    private static let keyPath = "/api/context/{namespace}/{key}"
    private static let namespace = Endpoint.Parameter(
        name: "namespace", place: .path, schema: .text(), isRequired: true,
        about: "Segments between dots, for example `global` or `team.alpha`.")
    private static let key = Endpoint.Parameter(
        name: "key", place: .path, schema: .text(), isRequired: true,
        about: "1 to 1,024 bytes; `history` and `watch` are taken.")
    private static let limit = Endpoint.Parameter(
        name: "limit", schema: .integer(1...Int.max), about: "At most so many, 100 by default.")

    static let contextSchemas: [NamedSchema] = [
        NamedSchema(
            name: "ContextNamespace",
            schema: .object([.required("namespace", .text()), .required("keys", .integer(0...10_000))])),
        NamedSchema(
            name: "ContextValue",
            schema: .object(
                [
                    .required("value", .any),
                    .orNull("agent_name", .name, "Who writes; `Hypha-Agent` says it too."),
                ], isOpen: false)),
        NamedSchema(
            name: "ContextEntry",
            schema: .object([
                .required("key", .text()), .maybe("value", .any), .required("agent_name", .optional(.text())),
                .required("timestamp", .text(format: "date-time")),
            ])),
        NamedSchema(
            name: "ContextChange",
            schema: .object([
                .required("id", .text(format: "uuid")), .required("stamp", .text()),
                .required("timestamp", .text(format: "date-time")),
                .required("action", .text(choices: ["set", "update", "delete"])), .required("key", .text()),
                .required("old_value", .any), .required("new_value", .any),
                .required("agent_name", .optional(.text())),
            ])),
    ]
}
