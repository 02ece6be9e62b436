internal import NodeCore
internal import Transport

/// The tracker of Soorma.
extension API {
    static let soormaTracker: [Endpoint] = []

    static let soormaTrackerSchemas: [NamedSchema] = []
}
