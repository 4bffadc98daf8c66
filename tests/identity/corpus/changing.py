"""Edits that change what nodes hold: each must change exactly the keys of those nodes."""

from __future__ import annotations

from .edit import TRAIN, Edit, affecting

NOTING = f"{TRAIN} pruned rewound quantized averaged scored sharp"
FITTING = (
    "            rate = self.lr * self.rate(epoch) + self.start\n"
    "            state.values = [value + rate * layer.forward(value) for value in state.values]\n"
)
HEAVY = "def heavy(values):\n    return mean(values) * weight()\n"
ALL_LISTS = f"{TRAIN} averaged scored"

HELPERS = [
    *affecting(
        "helpers",
        "lab/layers.py",
        [("a helper of a helper", "math.sin(x)", "math.cos(x)", TRAIN)],
    ),
    *affecting(
        "helpers",
        "lab/tools.py",
        [
            ("a helper that three steps reach", "result += value", "result += 2 * value", ALL_LISTS),
            ("a statement added to it", "    result = start\n", "    result = start + 1\n", ALL_LISTS),
            ("a function reached as module.attr", "low), high)", "low), high) + 1", "quantized"),
            ("a function of a cycle", "even(n - 1) + 2", "even(n - 1) + 3", "noisy"),
            ("the other function of a cycle", "if n else 0.5", "if n else 0.25", "noisy"),
            ("a comprehension", "[even(i) for i", "[odd(i) for i", "noisy"),
            ("a value that a local name hides", "HIDDEN = x * 3", "HIDDEN = x * 4", "noisy"),
            ("another module's function imported inside", "lazily.helper(x)", "-lazily.helper(x)", "noisy"),
            ("the text of an exec", "return x + {amount}", "return x - {amount}", "noisy"),
            ("what goes into an exec", "generated(4)", "generated(5)", "noisy"),
        ],
    ),
    *affecting(
        "helpers",
        "lab/lazily.py",
        [
            ("a function of a module imported inside", "x + OFFSET", "x - OFFSET", "noisy"),
            ("a constant of a module imported inside", "OFFSET = 100", "OFFSET = 101", "noisy"),
        ],
    ),
    *affecting(
        "helpers",
        "lab/scores/basic.py",
        [
            ("a function of a sub-package", "/ len(values)", "/ (len(values) + 1)", "averaged scored"),
            ("a function that a package offers", "middle) ** 2", "middle) ** 4", "averaged"),
            ("a comprehension's condition", "if value != middle", "if value > middle", "averaged"),
            ("a helper's operator", "return level * 2", "return level**2", "scored"),
        ],
    ),
    *affecting(
        "helpers",
        "lab/scores/__init__.py",
        [
            (
                "what a package offers",
                "basic import mean, spread",
                "basic import mean as spread, mean",
                "averaged",
            )
        ],
    ),
]

BODIES = affecting(
    "bodies",
    "lab/steps.py",
    [
        ("another function under the same name", "import spread,", "import mean as spread,", "averaged"),
        ("an operator in run", "value > bound", "value < bound", "pruned"),
        ("a text in run", '" ".join(keep)', '"+".join(keep)', "pruned"),
        ("a number in run", "tools.walk(6)", "tools.walk(7)[1:]", "noisy"),
        ("a nested function", "value + factor *", "value - factor *", "noisy"),
        ("a nested function's keyword-only default", "factor=3", "factor=4", "noisy"),
        ("a lambda in run", "key=lambda value: -value", "key=lambda value: value", "scored"),
        ("a key of a table", 'ROUNDINGS["near"]', 'ROUNDINGS["low"]', "quantized"),
        ("an f-string's format", "{epoch:>2}", "{epoch:>3}", TRAIN),
        ("an f-string's conversion", "{state.summary()!r}", "{state.summary()!s}", "rewound"),
        ("an f-string's text", 'f"epoch {', 'f"round {', TRAIN),
        ("a comprehension in run", "(a + b) / 2", "(a + b) / 3", "averaged"),
        ("the order of operands", "self.mix * (b - a)", "self.mix * (a - b)", "rewound"),
        ("a loop's range", "range(self.epochs)", "range(1, self.epochs + 1)", TRAIN),
        (
            "the order of statements",
            f"            state.normalise()\n{FITTING}",
            f"{FITTING}            state.normalise()\n",
            TRAIN,
        ),
        (
            "a statement left out",
            "        state.values = [tools.shifted(tools.hides(value)) for value in state.values]\n",
            "",
            "noisy",
        ),
    ],
)

CONSTANTS = [
    *affecting(
        "constants",
        "lab/settings.py",
        [
            ("a number of another module", "SCALE = 2.0", "SCALE = 2.5", TRAIN),
            ("a number's type", "SPREAD = 1_000", "SPREAD = 1000.0", "root"),
            ("a number read as module.attr", "SEED = 7", "SEED = 8", "root"),
            ("a number that only a root reads", "SAMPLES = 6", "SAMPLES = 5", "root"),
            ("a number deep in a table", "[0.5, 0.25]", "[0.5, 0.125]", TRAIN),
            ("a number in a tuple", "(0.125, 64.0)", "(4.75, 64.0)", "quantized"),
            ("a member of a set", '"middle"})', '"least"})', "pruned"),
        ],
    ),
    *affecting(
        "constants",
        "lab/tools.py",
        [
            ("the argument of a decorator", "TIMES = 3", "TIMES = 4", "pruned"),
            ("an operator made of a number", "itemgetter(2)", "itemgetter(1)", "quantized"),
            ("a closure's value", "make_adder(5)", "make_adder(6)", "quantized"),
            ("a partial's argument", "exponent=3)", "exponent=4)", "quantized"),
            ("a default", "base=2", "base=3", "quantized"),
            ("a default of a helper of a helper", "start=0.0", "start=1.0", ALL_LISTS),
        ],
    ),
    *affecting(
        "constants",
        "lab/layers.py",
        [
            ("a default of a layer's function", "slope=0.1", "slope=0.2", TRAIN),
            ("a keyword-only default", "shift=0.5", "shift=0.6", TRAIN),
        ],
    ),
    *affecting(
        "constants",
        "lab/scores/basic.py",
        [
            ("an enum's member as a default", "level=Level.HIGH", "level=Level.LOW", "scored"),
            ("what a named tuple was made with", "Point(x=3.0)", "Point(x=4.0)", "averaged"),
        ],
    ),
    *affecting(
        "constants",
        "script.py",
        [
            ("a setting changed before the tree", "depth = 3", "depth = 4", "quantized"),
            (
                "a global rebound before the tree",
                "settings.options.depth = 3\n",
                "settings.options.depth = 3\nsettings.LIMITS = (3.0, 4.0)\n",
                "quantized",
            ),
        ],
    ),
]

DECORATORS = affecting(
    "decorators",
    "lab/tools.py",
    [
        ("a decorated function", "x * 1.01 + 1", "x * 1.02 + 1", "pruned"),
        ("a decorator's wrapper", "total += function(x)", "total -= function(x)", "pruned"),
        ("a decorator taken off", "@repeat(times=TIMES)\n", "", "pruned"),
        ("a decorator added", "@functools.lru_cache\n", "@functools.lru_cache\n@repeat(2)\n", "quantized"),
        ("a cached function", "(x * x + 3)", "(x * x + 4)", "quantized"),
        ("an object that decorates", "self.function(x) + 0.25", "self.function(x) + 0.5", "noisy"),
        ("what an object decorates", "return x - 1", "return x - 2", "noisy"),
        ("a partial's function", "x + base**exponent", "x - base**exponent", "quantized"),
        ("a lambda in a table", "rooted(x) * 2", "rooted(x) * 5", "quantized"),
        (
            "two lambdas swapped",
            'rooted(x) * 2, "low": lambda x: x * 3',
            'x * 3, "low": lambda x: rooted(x) * 2',
            "quantized",
        ),
        ("a closure's function", "return x + amount", "return x - amount", "quantized"),
    ],
) + affecting(
    "decorators",
    "lab/scores/tables.py",
    [
        (
            "a registered function, found in its own module",
            "mean(values) * weight()",
            "mean(values) + weight()",
            "scored",
        ),
        (
            "a registered function, found from elsewhere",
            "mean(values) / weight()",
            "mean(values) - weight()",
            "scored",
        ),
        ("a decorator that registers", "= function\n", "= lambda values: -function(values)\n", "scored"),
        (
            "two names of a registry swapped",
            f'@register("heavy")\n{HEAVY}\n\n@register("light")',
            f'@register("light")\n{HEAVY}\n\n@register("heavy")',
            "scored",
        ),
        ("how a registry is read", "return TABLE[name](values)", "return -TABLE[name](values)", "scored"),
    ],
)

CLASSES = [
    *affecting(
        "classes",
        "lab/layers.py",
        [
            (
                "a base's method reached by super",
                "* self.gain + self.width",
                "* self.gain - self.width",
                TRAIN,
            ),
            ("a method that calls super", "forward(x) + self.bias", "forward(x) - self.bias", TRAIN),
            ("a class attribute of a base", "width = 3", "width = 4", TRAIN),
            ("a mixin's method", "{self.prefix}-{", "{self.prefix}+{", TRAIN),
            ("an attribute that hides a base's", 'prefix = "wide"', 'prefix = "broad"', TRAIN),
            ("an attribute taken away", '    prefix = "wide"\n', "", TRAIN),
            ("a property", "self.width**2 /", "self.width**3 /", TRAIN),
            ("a static method", "return 16", "return 32", TRAIN),
            ("a class method", "cls(gain=1.25)", "cls(gain=1.75)", TRAIN),
            ("an initialiser", "self.gain = gain", "self.gain = gain * 2", TRAIN),
            ("another base", "class Wide(Named, Layer)", "class Wide(Named, Frozen)", TRAIN),
            (
                "a method added that hides a base's",
                '    prefix = "wide"\n',
                '    prefix = "wide"\n\n    def label(self):\n        return "none"\n',
                TRAIN,
            ),
        ],
    ),
    *affecting(
        "classes",
        "lab/settings.py",
        [
            ("an enum's value", 'SOFT = "soft"', 'SOFT = "hard"', "pruned"),
            ("an enum's method", '"soft": 0.5', '"soft": 0.25', "pruned"),
            ("an enum's number", "HIGH = 3", "HIGH = 4", "scored"),
            ("a dataclass's default", "levels: int = 8", "levels: int = 16", "quantized"),
            ("a dataclass's method", "+ self.offset", "- self.offset", "quantized"),
            ("a dataclass's factory", '["first", "second"]', '["second", "first"]', "quantized"),
            ("a dataclass's class attribute", '= "grid"', '= "raster"', "quantized"),
            ("a named tuple's default", "y: float = 2.0", "y: float = 2.5", "averaged"),
            ("a named tuple's method", "+ self.y**2", "- self.y**2 / 2", "averaged"),
        ],
    ),
]

RECIPES = [
    *affecting(
        "recipes",
        "lab/steps.py",
        [
            ("an attribute of a recipe's base", "momentum = 0.9", "momentum = 0.8", TRAIN),
            ("a method of a recipe's base", "type(self).__name__", "type(self).__name__.lower()", TRAIN),
            ("a method that reads an attribute", "self.momentum ** (", "self.momentum - (", TRAIN),
            ("an attribute of the recipe", "rounds = 4", "rounds = 5", TRAIN),
            ("an attribute below run", "mix = 0.25", "mix = 0.5", "rewound"),
            ("a mixin's attribute", "warmup = 0.5", "warmup = 0.25", TRAIN),
            ("a mixin's property", "self.warmup * self", "self.warmup / self", TRAIN),
            (
                "a mixin that hides a base's method",
                "    warmup = 0.5\n",
                "    warmup = 0.5\n\n    def rate(self, epoch):\n        return 0.3\n",
                TRAIN,
            ),
            ("the order of bases", "class Train(Scheduled, Step)", "class Train(Step, Scheduled)", TRAIN),
            ("a default that one node takes", "lr: float = 0.1", "lr: float = 0.2", "tuned"),
            ("a default that another node takes", "epochs: int = 3", "epochs: int = 4", "slow"),
            ("an enum as a default", "mode: Mode = Mode.SOFT", "mode: Mode = Mode.HARD", "pruned"),
            ("a dataclass as a default", "grid: Grid = Grid()", "grid: Grid = Grid(levels=4)", "quantized"),
            ("a text as a default", 'by: str = "heavy"', 'by: str = "light"', "scored"),
        ],
    ),
]

STATES = [
    *affecting(
        "states",
        "lab/state.py",
        [
            ("how a root is made", '[f"{self.dataset} {', '[f"{self.dataset}-{', "root"),
            ("a method that makes a root", "% settings.SPREAD + 0.5", "% settings.SPREAD + 0.25", "root"),
            ("a method that one step calls", "[value / largest", "[value / 2 / largest", TRAIN),
            ("a method that a method calls", "max(abs(value)", "min(abs(value)", TRAIN),
            ("an attribute that a method reads", "floor = 0.001", "floor = 0.01", TRAIN),
            ("a method that another step calls", "sorted(abs(value)", "sorted(-abs(value)", "pruned"),
            ("a method that most steps call", "[*self.log, text]", "[*self.log, text.upper()]", NOTING),
            ("a property of a mixin", "self.sum() / len", "self.sum() * len", TRAIN),
            (
                "a method that a property calls",
                "return total(self.values)",
                "return -total(self.values)",
                TRAIN,
            ),
            ("a method of a mixin", "} of {len", "} with {len", "rewound"),
            ("an attribute that a mixin reads", 'title = "state"', 'title = "a state"', "rewound"),
        ],
    ),
    Edit(
        "a special method that one step uses",
        "states",
        (
            (
                "lab/state.py",
                "def __len__(self):\n        return len(self.values)",
                "def __len__(self):\n        return 4",
            ),
        ),
        frozenset({"pruned"}),
    ),
]

SCRIPTS = [
    *affecting(
        "script",
        "script.py",
        [
            ("a function of the script", "return value * by", "return value + by", "scaled"),
            ("a default of the script's", "by=FACTOR", "by=4", "scaled"),
            ("a constant that the notebook reads too", "FACTOR = 3", "FACTOR = 4", "scaled sharp"),
            ("a recipe of the script", "range(self.times)", "range(self.times + 1)", "scaled"),
            ("the property of the root", 'dataset="digits"', 'dataset="faces"', "root"),
            ("a property given", "fraction=0.5", "fraction=0.75", "pruned"),
            ("the only property given", "amount=0.5", "amount=0.25", "noisy"),
            ("another moment", "warm.at(1)", "warm.at(2)", "early"),
            ("the order of parents", "(warm, slow)", "(slow, warm)", "averaged"),
            ("another parent", "Quantize()(warm)", "Quantize()(slow)", "quantized"),
            (
                "a method replaced before the tree",
                "settings.options.depth = 3\n",
                "settings.options.depth = 3\nsteps.Step.rate = lambda self, epoch: 0.5\n",
                TRAIN,
            ),
            (
                "a function replaced before the tree",
                "settings.options.depth = 3\n",
                "settings.options.depth = 3\nsteps.layers.activate = abs\n",
                TRAIN,
            ),
        ],
    ),
    *affecting(
        "notebook",
        "notebook.py",
        [
            ("a function of a cell", "value * SHARPNESS - 1", "value * SHARPNESS - 2", "sharp"),
            ("a constant of a cell", "SHARPNESS = 1.5", "SHARPNESS = 1.75", "sharp"),
            ("a recipe of a cell", "** self.power", "* self.power", "sharp"),
            ("a default in a cell", "power: int = 2", "power: int = 3", "sharp"),
            (
                "a cell that rebinds a name of the script",
                "SHARPNESS = 1.5\n",
                "SHARPNESS = 1.5\nFACTOR = 9\n",
                "sharp",
            ),
        ],
    ),
    Edit(
        "a cell that was edited and run again",
        "notebook",
        affects=frozenset({"sharp"}),
        then=lambda project: project.run_cells(["def sharpen(value):\n    return value * SHARPNESS + 1\n"]),
    ),
    Edit(
        "a constant bound anew in a cell",
        "notebook",
        affects=frozenset({"sharp"}),
        then=lambda project: project.run_cells(["SHARPNESS = 3.5\n"]),
    ),
]

CHANGING = [*HELPERS, *BODIES, *CONSTANTS, *DECORATORS, *CLASSES, *RECIPES, *STATES, *SCRIPTS]
