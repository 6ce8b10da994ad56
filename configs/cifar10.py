"""CIFAR-10: half of the MACs, a short fine-tuning, for a ResNet-20 or a family of mobile networks.

--config=cifar10 is the ResNet-20, whose published weights are not part of the package:
--config.model.weights=FILE.npz names them, and without them the network is trained.
--config=cifar10:mobilenet_v2 and the like is a small network of a family, trained for a few epochs
and cut without a search, as in docs/results/recovery.md (where VGG's dense network was trained in
bfloat16 too); --config.train.epochs=160 trains in earnest.
--config.data.dir=FOLDER names the data, which is else downloaded.
"""

from ml_collections import ConfigDict

FAMILIES = {
    "mobilenet_v1": ("mobilenet_v1:0.5", "float32"),
    "mobilenet_v2": ("mobilenet_v2:0.25", "float32"),
    "shufflenet_v1": ("shufflenet_v1:0.25", "float32"),
    "shufflenet_v2": ("shufflenet_v2:0.5", "float32"),
    "vgg16_bn": ("vgg16_bn:0.25", "mixed_bfloat16"),
}
"""Widths that two cores can train, and precisions: depthwise kernels are slow in bfloat16."""


def get_config(network: str = "resnet20") -> ConfigDict:
    """The experiment; every field can be overridden: --config.budget.macs_ratio=0.3."""
    if network not in ("resnet20", *FAMILIES):
        raise ValueError(f"the network must be resnet20, {', '.join(FAMILIES)}, not {network!r}")
    short = network in FAMILIES
    name, precision = FAMILIES.get(network, (network, "float32"))

    config = ConfigDict()

    # Of everything random.
    config.seed = 0

    # Patterns of layers whose channels must stay, such as ("stem*",).
    config.freeze = ()

    # Counts of channels are multiples of this number, or whole; tgp.compress takes them by layer.
    config.channel_multiple = 1

    config.data = data = ConfigDict()
    # "digits" ships with scikit-learn; "folder" is a folder of images, with one folder a class or
    # train/, val/ and test/; any other name is looked up in TensorFlow Datasets.
    data.name = "cifar10"
    # The image folder; or that of TensorFlow Datasets, "" for its own default.
    data.dir = ""
    # Whether TensorFlow Datasets may fetch what is missing.
    data.download = True
    # Images of TensorFlow Datasets held out of training, from the end of the training split:
    # train[45000:]; not for "digits" or a "folder".
    data.reward_examples = 5000
    # Of the split of a "folder"; that of TensorFlow Datasets is its own.
    data.split_seed = 0
    # Height and width of the images of a "folder".
    data.image_size = 64
    # 3 for colour, 1 for grey.
    data.channels = 3
    # Share of a "folder" without val/ that the search measures its reward on.
    data.reward_share = 0.1
    # Share of a "folder" without test/ that is looked at once, at the end.
    data.test_share = 0.2

    config.model = model = ConfigDict()
    # "digits_cnn", "resnetN" with N = 6n + 2 (option-A shortcuts; "resnetNB" for option B),
    # "random_cnn:SEED", or with a width after a colon, 1 if left out, "mobilenet_v1:0.5",
    # "mobilenet_v2", "shufflenet_v1", "shufflenet_v2", "vgg16_bn".
    model.name = name
    # A .keras or .h5 file of tf_keras; replaces the model above and its training. "" for none.
    model.path = ""
    # An .npz file with weights of the model above; replaces its training. "" for none.
    model.weights = ""

    config.train = train = ConfigDict()
    # Epochs for the dense model, where neither file is given (160 are hours on a CPU).
    train.epochs = 5 if short else 160
    # "adam" or "sgd" (with Nesterov momentum 0.9).
    train.optimizer = "sgd"
    # Peak of the cosine schedule.
    train.learning_rate = 0.05 if short else 0.1
    # Images in a step.
    train.batch_size = 128
    # "shift" moves images by up to a pixel; "crop_flip" suits photographs; "" does nothing.
    # KerasCV's: "rand_augment", "cutmix", "mixup", and "crop_flip_" before any of these.
    train.augment = "crop_flip"

    # What the pruned model may cost; 0 sets no limit, and all other limits hold at once.
    config.budget = budget = ConfigDict()
    # Multiply-accumulates for one image, as a share of the dense model's.
    budget.macs_ratio = 0.5
    # The same as a number, in place of macs_ratio.
    budget.macs = 0.0
    # Parameters, as a share of the dense model's.
    budget.params_ratio = 0.0
    # The same as a number, in place of params_ratio.
    budget.params = 0.0
    # Bytes of the float32 TFLite file.
    budget.file_bytes = 0.0
    # The same as a share of the dense file; 0 for no limit.
    budget.file_bytes_ratio = 0.0
    # Milliseconds of the float32 TFLite file on the device, at most; 0 for no limit.
    budget.latency_ms = 0.0
    # The same as a share of the dense model's; 0 for no limit.
    budget.latency_ratio = 0.0
    # "host", "android" for the only device that adb knows, or a device's serial.
    budget.device = "host"
    # For a device: the file of TFLite's benchmark_model built for it.
    budget.benchmark = ""
    # Threads that latency is measured with.
    budget.threads = 1
    # File that keeps latencies of single operators between runs; "" for one in the run's folder.
    budget.latency_table = ""

    config.search = search = ConfigDict()
    # The method whose plan is used: "sac", "cma_es", "uniform" ...; docs/search.md lists them.
    search.agent = "pretrained" if short else "sac"
    # Plans that each method may try; 0 with "pretrained" is the plan of the policy that comes with
    # the package.
    search.evaluations = 0 if short else 200
    # Methods that run beside it for comparison.
    search.rivals = () if short else ("uniform", "random")
    # The agent's hyperparameters by name: --config.search.options="{'encoder':'gcn'}".
    search.options = ConfigDict()
    # Folder of a saved policy to start from; "" for none.
    search.policy = ""
    # What ranks the channels within a group.
    search.criterion = "l2"
    # Smallest share of channels that a group keeps.
    search.min_keep = 0.1
    # Training images for the BatchNorm statistics of each plan.
    search.calibration_examples = 512
    # Reward images to use, from the first held-out one on: train[45000:46000].
    search.reward_examples = 1000
    # Images in a forward pass of the search; fewer need less memory.
    search.eval_batch_size = 128
    # Reward images that are enough for a plan that is clearly worse; 0 for all.
    search.first_look = 0
    # When each method comes to its end, such as "30m"; "" for no limit.
    search.time_limit = ""
    # "auto" measures rewards in bfloat16 where the CPU has it in hardware; "float32" never does.
    search.reward_precision = "auto"

    config.finetune = finetune = ConfigDict()
    # Passes over the training images after the cut.
    finetune.epochs = 2
    # "one_shot" cuts, then trains; "gradual" shrinks whole channels while it trains, then cuts;
    # "soft" zeroes filters after each epoch; "reconstruct" fits kernels by least squares first;
    # "refill" keeps the channels in which most single weights survive tfmot's pruning;
    # "scratch_e" and "scratch_b" start from random weights (equal epochs, equal compute).
    finetune.recovery = "one_shot"
    # How "gradual" takes channels: "polynomial" over half of the steps, "constant" all at once.
    finetune.gradual_schedule = "polynomial"
    # Rounds of search, cut and recovery on the way to the budget; more for high ratios.
    finetune.stages = 1
    # "adam" or "sgd".
    finetune.optimizer = "sgd"
    # Peak of the cosine schedule; 0 for the optimizer's own default.
    finetune.learning_rate = 0.0
    # Images in a step.
    finetune.batch_size = 128
    # Decoupled; BatchNorm and biases are left out.
    finetune.weight_decay = 1e-4
    # Whether to learn from the dense model's outputs too.
    finetune.distill = True
    # The dense model's share of the loss then.
    finetune.alpha = 0.5
    # What both models' outputs are divided by there.
    finetune.temperature = 4.0
    # Weight of a loss on the feature maps, each kept channel beside the dense model's; 0 for none.
    finetune.feature_weight = 0.0
    # Share of a label's probability that is spread over all classes.
    finetune.label_smoothing = 0.0
    # How much the examples of each class count, in the order of classes, as (1.0, 3.0); () for 1.
    finetune.class_weight = ()
    # Decay of the mean of weights that the model gets at the end; 0 for the last weights.
    finetune.averaging = 0.0
    # What layers compute in: "float32", "mixed_bfloat16" or "mixed_float16".
    finetune.precision = precision
    # Train large networks with channels in sixteens, where CPUs are faster at it.
    finetune.widen = True
    # As train.augment.
    finetune.augment = "crop_flip"

    config.export = export = ConfigDict()
    # TFLite files to write; float32 is always among them.
    export.quantizations = ("float32", "int8")
    # Training images that set the int8 ranges.
    export.representative_examples = 300

    return config
