// swift-tools-version: 6.2
import PackageDescription

/// Every target is built alike: Swift 6 mode, and no import leaks through a public interface by accident.
let strict: [SwiftSetting] = [
    .swiftLanguageMode(.v6), .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"), .enableUpcomingFeature("MemberImportVisibility"),
]

let package = Package(
    name: "hypha",
    products: [
        .executable(name: "hypha", targets: ["Node"]),
        .executable(name: "simulate", targets: ["Simulate"]),
    ],
    targets: [
        // The arrows point one way: CRDT <- Gossip <- NodeCore <- Node, and Transport <- Node.
        .target(name: "CRDT", swiftSettings: strict),
        .target(name: "Gossip", dependencies: ["CRDT"], swiftSettings: strict),
        .target(
            name: "NodeCore", dependencies: ["CRDT", "Gossip"], path: "Sources/Node/Core", swiftSettings: strict),
        // Headers of glibc that Swift's Glibc module leaves out (epoll, signalfd); no C is compiled.
        .systemLibrary(name: "CEpoll", path: "Sources/Transport/CEpoll"),
        .target(name: "Transport", dependencies: ["CEpoll"], exclude: ["CEpoll"], swiftSettings: strict),
        .executableTarget(
            name: "Node", dependencies: ["NodeCore", "Gossip", "CRDT", "Transport", "CEpoll"], path: "Sources/Node",
            exclude: ["Core"], swiftSettings: strict),
        .executableTarget(
            name: "Simulate", dependencies: ["CRDT", "Gossip", "NodeCore"], path: "Simulations",
            exclude: ["Seeds.txt", "Mutants/Edits"], swiftSettings: strict),
        .testTarget(name: "CRDTTests", dependencies: ["CRDT"], swiftSettings: strict),
        .testTarget(name: "GossipTests", dependencies: ["CRDT", "Gossip"], swiftSettings: strict),
        .testTarget(name: "NodeCoreTests", dependencies: ["CRDT", "Gossip", "NodeCore"], swiftSettings: strict),
        .testTarget(
            name: "NodeTests", dependencies: ["Node", "NodeCore", "Gossip", "Transport"], swiftSettings: strict),
        .testTarget(name: "TransportTests", dependencies: ["Transport"], swiftSettings: strict),
        .testTarget(
            name: "SimulationTests", dependencies: ["Simulate", "CRDT", "Gossip", "NodeCore"], swiftSettings: strict),
        .testTarget(name: "TidyTests", swiftSettings: strict),
    ]
)
