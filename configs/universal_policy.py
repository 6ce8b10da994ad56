"""The policy that comes with the package: small networks, digits and CIFAR-10, several budgets.

tfgraphprune policy --config=universal_policy --workdir=FOLDER trains one like it.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """The training; every field can be overridden: --config.seed=1."""
    config = ConfigDict()

    # Of everything random.
    config.seed = 0

    config.data = data = ConfigDict()
    data.digits = digits = ConfigDict()
    # "digits" ships with scikit-learn.
    digits.name = "digits"
    # Of the split into training, reward and test images.
    digits.split_seed = 0
    data.cifar10 = cifar10 = ConfigDict()
    # A name of TensorFlow Datasets.
    cifar10.name = "cifar10"
    # Its folder; "" for its own default.
    cifar10.dir = ""
    # Whether it may fetch what is missing.
    cifar10.download = True
    # Images held out of training, from the end of the training split.
    cifar10.reward_examples = 5000

    # NAME@DATA, see tfgraphprune.models.network_by_name, or FILE.keras@DATA for a trained one.
    # ResNet-56, VGG-16 and MobileNetV2 are left out on purpose: benchmarks/search.py tests the
    # policy on them.
    config.networks = (
        "digits_cnn@digits",
        "random_cnn:0@digits",
        "random_cnn:1@digits",
        "random_cnn:2@digits",
        "random_cnn:3@digits",
        "resnet8@cifar10",
        "resnet14B@cifar10",
        "resnet20@cifar10",
    )

    # Each network is pruned to each of these shares of its MACs ...
    config.macs_ratios = (0.3, 0.5)
    # ... and to each of these of its parameters.
    config.params_ratios = (0.5,)

    config.train = train = ConfigDict()
    # Training images of each network, at most.
    train.examples = 15000
    # Steps of each network.
    train.steps = 600
    # "adam" or "sgd".
    train.optimizer = "adam"
    # Peak of the cosine schedule.
    train.learning_rate = 3e-3
    # Images in a step.
    train.batch_size = 128
    # "shift", "crop_flip" or "" for none.
    train.augment = ""

    config.search = search = ConfigDict()
    # Plans tried for each network and budget.
    search.rounds = 30
    # Smallest share of channels that a group keeps.
    search.min_keep = 0.1
    # Training images for the BatchNorm statistics of each plan.
    search.calibration_examples = 256
    # Held-out images that each plan is rewarded on.
    search.reward_examples = 500
    # Fields of tfgraphprune.search.agents.sac_learner.SacSettings.
    search.options = options = ConfigDict()
    # Random plans for each network and budget, by which its rewards are standardised.
    options.warmup = 6
    # Training steps a plan.
    options.steps = 10
    # Transitions a training step.
    options.batch = 128
    # Share of the policy's weights that each plan keeps (Polyak averaging).
    options.averaging = 0.995

    return config
