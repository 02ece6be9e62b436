internal import NodeCore
internal import Transport

/// Shared context (docs/context.md).
extension API {
    static let context: [Endpoint] = [namespaces, contextKeys, contextHistory, contextWatch] + contextValues

    private static let namespaces = Endpoint(
        method: .get, path: "/api/context", tag: .context, summary: "List namespaces",
        about: "In the order of their names. A namespace is made by its first key and stays, be it empty.",
        parameters: [
            .query("after", .text(), "Only those whose name comes after this one."), limit,
        ],
        answers: [.ok("The namespaces.", .array(.named("ContextNamespace")))]
    ) { _, query, caller throws(BadQuery) in
        let limit = try query.page(default: Route.defaultLimit).limit
        return .ask(.context(.namespaces(after: query["after"], limit: limit), by: caller.asker))
    }

    private static let contextKeys = Endpoint(
        method: .get, path: "/api/context/{namespace}", tag: .context, summary: "List a namespace's keys and values",
        about: "In the order of their names; an unknown namespace is empty.",
        parameters: [
            namespace, .query("after", .text(), "Only those whose name comes after this one."),
            .query("values", .text(choices: ["true", "false"]), "`false` leaves the values out."),
            limit,
        ],
        answers: [.ok("The entries.", .array(.named("ContextEntry")))]
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
            namespace, .query("key", .text(), "Only changes of this key."),
            .query(
                "before", .text(),
                "Only changes before this one: its id, its stamp, or a time like 2026-01-31T12:00:00Z."),
            limit,
        ],
        answers: [.ok("The changes.", .array(.named("ContextChange")))]
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
            namespace, .query("cursor", .text(), "Where to go on; without one, from now on."),
            .init(
                name: "Last-Event-ID", place: .header, schema: .text(), about: "The same, from browsers; counts more."),
            .query("agents", .text(), "Only changes by these agents, separated by commas."),
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
                .ok("What it holds.", .named("ContextEntry")),
                .refusal(404, "Nothing is there."),
            ]
        ) { path, _, caller in ask(path, caller) { .value(namespace: $0, key: $1) } },
        Endpoint(
            method: .put, path: keyPath, tag: .context, summary: "Set a key",
            about: "Of two nodes that set it at once, the later write stays; both are in the history.",
            parameters: [namespace, key], body: .init(schema: .named("ContextValue")),
            answers: [
                .ok("It was there, and holds this now.", .named("ContextEntry")),
                .created("It is new.", .named("ContextEntry")),
                .refusal(403, "Somebody else asks than `agent_name` says."),
                .refusal(413, "Longer than 512 KiB."),
                .refusal(507, "No room for more namespaces or keys."),
            ]
        ) { path, _, caller in ask(path, caller) { .set(namespace: $0, key: $1) } },
        Endpoint(
            method: .patch, path: keyPath, tag: .context, summary: "Change a part of a key's value",
            about: "`value` is a JSON merge patch (RFC 7396) of the value that this node has read.",
            parameters: [namespace, key],
            body: .init(schema: .named("ContextValue")),
            answers: [
                .ok("What it holds now.", .named("ContextEntry")),
                .refusal(403, "Somebody else asks than `agent_name` says."),
                .refusal(404, "Nothing is there."),
                .refusal(413, "Longer than 512 KiB."),
            ]
        ) { path, _, caller in ask(path, caller) { .patch(namespace: $0, key: $1) } },
        Endpoint(
            method: .delete, path: keyPath, tag: .context, summary: "Delete a key", parameters: [namespace, key],
            answers: [
                .noContent("It is gone."),
                .refusal(404, "Nothing is there."),
            ]
        ) { path, _, caller in ask(path, caller) { .delete(namespace: $0, key: $1) } },
    ]

    private static func ask(
        _ path: [String: String], _ caller: Caller, _ make: (_ namespace: String, _ key: String) -> ContextRequest
    ) -> Route {
        .ask(.context(make(path["namespace"] ?? "", path["key"] ?? ""), by: caller.asker))
    }

    private static let keyPath = "/api/context/{namespace}/{key}"
    private static let namespace = Parameter.path(
        "namespace", .text(length: 1...1_010, pattern: "^\(segment)(\\.\(segment))*$"),
        "Segments between dots, for example `global` or `team.alpha`.")
    /// Of a topic: not a wildcard alone.
    private static let segment = "([^.*>][^.]*|[*>][^.]+)"
    private static let key = Parameter.path("key", .name, "1 to 1,024 bytes; `history` and `watch` are taken.")
    private static let limit = Parameter.limit(default: Route.defaultLimit)

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
