internal import NodeCore
internal import Transport

/// The registry of Soorma.
extension API {
    static let soormaRegistry: [Endpoint] = []

    static let soormaRegistrySchemas: [NamedSchema] = []
}
