internal import NodeCore
internal import Transport

/// The event service of Soorma.
extension API {
    static let soormaEvents: [Endpoint] = []

    static let soormaEventSchemas: [NamedSchema] = []
}
