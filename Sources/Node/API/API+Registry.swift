internal import NodeCore
internal import Transport

extension API {
    static let registry: [Endpoint] = []
}
