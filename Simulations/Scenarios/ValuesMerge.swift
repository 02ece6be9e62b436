internal import Gossip

/// No nodes, no network: the replicated values alone, in every order that the dice come up with.
struct ValuesMerge: Scenario {
    static let name = "values-merge"
    static let promise = "Documents, tallies and vectors are the same in whatever order their writes come."

    func options(_ dice: inout Dice) -> Options { Options() }

    func run(_ cluster: Cluster) throws(Violation) {
        var laws = Laws(seed: cluster.seed)
        try laws.check(histories: 2_000)
    }
}
