# ruff: noqa: E501
"""The words of the rule reader: an idea on the left, the phrases that stand for it on the right.

To teach the reader a new way of saying something, add a phrase here. A phrase is a row of words: `a|b` is either,
`a?` and `a|b?` may be missing, `improve~` is improve, improves, improved and improving (`drop~~` doubles its last
letter). Case, hyphens and underscores do not count. The longest phrase at a place wins. An idea may carry a value after
a colon. What ideas add up to is said in `grammar.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def words_of(text: str) -> frozenset[str]:
    """The words of `text`."""
    return frozenset(text.split())


_SET = "set|data|dataset|split|examples"
_VAL = "validation|val|valid|eval|evaluation|dev|heldout|holdout"
_ANSWER = "response|responses|answer|answers|output|outputs|reply|replies|completion|completions|generation|generations"
_NOT = (
    "not|never|non|don't|dont|doesn't|doesnt|won't|wont|can't|cannot|shouldn't|mustn't|didn't|hasn't|hasnt|haven't|"
    "havent|hadn't|isn't|isnt|aren't|arent|wasn't|weren't|neither|nor"
)
_JUDGE = "llm|llms|model|models|ai|gpt|gpt-4|gpt-5|gpt4|gpt-4o|gpt4o|claude|chatgpt|gemini"
_STRONGER = "another|stronger|larger|bigger|separate|second|the|external"
_BEST = "model|checkpoint|checkpoints|weights|version|epoch|state|adapter|one|result"

IDEAS: Mapping[str, Sequence[str]] = {
    # What is watched.
    "METRIC:validation_loss": [
        f"{_VAL} {_SET}? loss|losses|error",
        f"held|hold out {_SET}? loss|losses",
        f"loss|losses on|over|for|of the|our|my? {_VAL} {_SET}?",
        f"loss|losses on|over|for|of the|our|my? held|hold out {_SET}?",
    ],
    "METRIC:loss": ["loss|losses"],
    "METRIC:training_loss": [
        f"training|train {_SET}? loss|losses",
        f"loss|losses on|over|for|of the|our|my? training|train {_SET}",
    ],
    "METRIC:perplexity": [
        "perplexity|perplexities|ppl score|scores?",
        f"{_VAL} {_SET}? perplexity|perplexities|ppl",
        f"perplexity|ppl on|over|for|of the|our|my? {_VAL} {_SET}?",
        f"perplexity|ppl on|over|for|of the|our|my? held|hold out {_SET}?",
    ],
    "METRIC:bleu": ["bleu|sacrebleu|bleu-4 score|scores?", f"{_VAL} bleu score|scores?"],
    "METRIC:response_length": [
        f"{_ANSWER} length|lengths",
        f"length|lengths of the|its|our|model? {_ANSWER}",
    ],
    "METRIC:throughput": [
        "throughput|tps",
        "training|token throughput",
        "speed",
        "training|processing|token speed",
        "tokens|token|tok per|/|a second|sec|s",
    ],
    "METRIC:memory": [
        "memory|vram|ram usage|use|consumption|footprint?",
        "gpu|cuda|device|video|system|host|peak gpu? memory|ram|mem|vram usage|use|consumption|footprint?",
    ],
    "METRIC:gradient_norm": [
        "gradient|gradients|grad|grads norm|norms|magnitude|magnitudes?",
        "norm|norms|magnitude of the? gradient|gradients|grads",
    ],
    "PAIR": [
        "two|both|the losses",
        f"training|train loss|losses? and|/|vs|versus|to|from|&? {_VAL} loss|losses?",
        f"{_VAL} loss|losses? and|/|vs|versus|to|from|&? training|train loss|losses?",
    ],
    "OTHER": [
        "training|train perplexity|ppl|bleu|accuracy",
        f"training|train or {_VAL} loss|losses",
        f"{_VAL} or training|train loss|losses",
        "reducelronplateau|scheduler",
        "lr|rate scheduler",
        "reduce learning? lr|rate on plateau",
        "any|all|every|each|some|both|another of? the|our|my? metric|metrics",
    ],
    # Known, and nothing that can be set or watched.
    "?": ["min|minimum|minimal|final|end|lowest learning rate|rates", "min|minimum|minimal|final|end|lowest lr"],
    "VALIDATION": ["validation", f"on|over the|our|my? {_VAL} {_SET}", f"on|over the|our|my? held|hold out {_SET}"],
    "ON_TRAINING": [f"on|over the|our|my? training|train {_SET}"],
    "IT": ["it"],
    # How it moves.
    "BETTER": [
        "improve~|improvement|improvements|better|progress|progresses|progressing|gain|gains",
        "get~~|gotten|got|become~ any? better",
        "new best|low|lows|high|minimum|maximum|optimum value|score?",
        "beat|beats|beaten|beating its|the|our? previous|earlier|old|best|own best|record|value|score?",
        "lower|better|higher|larger than its|the|any|our? previous|earlier|old|last|current|own|all? best|minimum|maximum|record so? far?",
    ],
    "UP": [
        "increase~|rise|rises|rising|rose|risen|climb~|grow|grows|growing|grew|grown|jump~|spike~|surge~|upticks|uptick",
        "go|goes|going|went|gone|creep~|tick~|move~|head~|turn~|trend~|shoot~|edge~|drift~|inch~ back? up|upward|upwards",
        "move~|drift~ away|apart",
        "get~~|become~|go|goes|move~|climb~ higher|larger|bigger",
        "upward|rising|increasing trend",
        "diverge~",
        "higher|upward|upwards|up",
    ],
    "DOWN": [
        "decrease~|drop~~|fall|falls|falling|fell|fallen|decline~|sink|sinks|sinking|sank|shrink|shrinks|shrinking|dip~~",
        "reduce~|reduction|lower~",
        "go|goes|going|went|gone|come|comes|coming|came|creep~|tick~|move~|head~|trend~|edge~|drift~ down|downward|downwards",
        "get~~|become~|go|goes lower|smaller",
        "slow~ down?",
    ],
    "WORSE": ["worse|worsen~|deteriorate~|degrade~|regress~", "get~~|become~|grow~ worse"],
    "CHANGE": ["change~|move~|budge~|vary~"],
    "STALL:flat": [
        "plateau|plateaus|plateaued|plateauing|stagnate~|stagnation|stall~|converge~|convergence|saturate~|flat|stuck",
        "flatten~ out|off?",
        "level|levels|leveled|levelled|leveling|levelling off|out",
        "bottom|bottoms|bottomed|top|tops|topped out",
        "stay~|remain~|stays|go|goes flat|constant|unchanged|stable|steady",
        "stay~|remain~ the same|level",
        "reach~|hit~~ a|the? plateau|convergence",
        "worse than its|the|our? previous? best|minimum|record so? far?",
        "stabilise~|stabilize~",
    ],
    "STOPS": ["stops|stopped|ceases|ceased|cease|quits", "fail~", "no longer", "not any longer|more"],
    "NOT": [_NOT],
    "NO": ["no|nothing|without|skip|disable|neither|avoid~", "instead|rather of|than", "turn~|switch~ off"],
    "OFF": ["off|none|false|disabled|unnecessary|unneeded|unwanted|undesired|undesirable"],
    # How far.
    "ABOVE:>": [
        ">|above|over|exceed~|beyond|past|surpass~|passes|passing",
        "higher|longer|larger|bigger than",
        "in excess of",
        "more|greater|higher|larger than >",
    ],
    "BELOW:<": ["<|below|under|beneath|underneath", "lower|smaller|shorter than", "less|lower|smaller than <"],
    "ABOVE:>=": [">=|=>|≥|⩾", "greater|larger|higher|more than or equal|equals to?"],
    "BELOW:<=": ["<=|=<|≤|⩽", "less|lower|smaller than or equal|equals to?"],
    "MORE:>": ["more|greater than"],
    "LESS:<": ["less|fewer than"],
    "AT_LEAST:>=": ["at the? very? least", "no|not less|fewer than", "a minimum of", "minimum of"],
    "AT_MOST:<=": ["at the? very? most", "no|not more than"],
    "OR_MORE:>=": ["or more|higher|above|greater|over|better|longer|larger", "and above|up"],
    "OR_LESS:<=": ["or less|lower|below|under|fewer|smaller|shorter", "and below"],
    "REACH": ["reach~|hit~~|attain~|achieve~", "get~~|arrive~ to|at"],
    "TO": ["to"],
    "TARGET": ["target|goal|aim"],
    "STAYS": ["stay~|remain~"],
    "TIMES": ["times|time|x|×|*|·"],
    "GAP": ["gap|difference|spread|distance|discrepancy", "generalisation|generalization|overfitting gap"],
    "TOO_BIG": [
        "too|very|so large|big|wide|high|great",
        "get~~|become~ too? large|big|wide|high|larger|bigger|wider",
        "widen~|appear~|large|big|wide",
        "open~ up?",
    ],
    "DIFFER": ["differ|differs|differing|deviate~"],
    "FROM": ["from"],
    "PLUS": ["+"],
    "MINUS": ["minus"],
    "NAN": [
        "nan|nans|inf|infs|infinity|infinite|nonfinite|naninf",
        "non finite",
        "not finite",
        "not a number",
    ],
    # For how long.
    "UNIT:evaluations": [
        "evaluation|evaluations|eval|evals|check|checks|validations|measurements|readings|rounds",
        f"{_VAL} step|steps|round|rounds|run|runs|cycle|cycles|check|checks|interval|intervals|point|points",
        f"{_VAL} pass|passes|period|periods|phase|phases|evaluations|evals",
    ],
    "UNIT:epochs": [
        "full|complete|whole pass|passes",
        "epoch|epochs",
        "training|full|complete|whole|entire epoch|epochs",
        "full|complete|whole pass|passes over|through the|all|my|our? training? data|dataset|examples",
        "pass|passes over|through the|all|my|our? training? data|dataset|examples",
    ],
    "UNIT:steps": [
        "step|steps|iteration|iterations|iters|updates|batches",
        "training|train|optimizer|optimiser|optimization|optimisation|gradient|global|update|weight step|steps",
        "training|train iteration|iterations|updates|batches",
        "optimizer|optimiser|gradient|weight|parameter update|updates",
    ],
    "TOKENS": ["token|tokens|toks", "trained|training|processed token|tokens"],
    "MINUTES:0.016666666666666666": ["second|seconds|sec|secs|s"],
    "MINUTES:1": ["minute|minutes|min|mins|m"],
    "MINUTES:60": ["hour|hours|hr|hrs|h"],
    "MINUTES:1440": ["day|days|d"],
    "GB:1": ["gb|gigabyte|gigabytes|g"],
    "GB:1.073741824": ["gib|gibibyte|gibibytes"],
    "GB:0.001": ["mb|megabyte|megabytes"],
    "GB:0.001048576": ["mib|mebibyte|mebibytes"],
    "GB:1000": ["tb|terabyte|terabytes"],
    "IN_A_ROW": [
        "consecutive|consecutively|successive|successively|straight|running|sequential",
        "in a row",
        "in succession|sequence",
        "back to back",
        "one after another|the",
    ],
    "LAST": ["last|previous|recent"],
    "NEXT:evaluations": ["from one evaluation|eval|check to the next|another"],
    "NEXT:epochs": ["from one epoch to the next|another"],
    "PATIENCE": ["patience"],
    "DELTA": [
        "min|minimum|minimal|smallest|required|least delta|improvement|change|gain|difference",
        "mindelta|delta|tolerance|margin|threshold",
        "improvement threshold|margin|tolerance",
    ],
    "MONITOR": ["monitor~|watch~|metric|measured|based", "metric for best model"],
    "MOMENT": [
        "as soon as",
        "so soon as",
        "moment|instant|immediately|instantly",
        "right|straight away",
        "at|on the? first|slightest sign|signs|hint|instance of?",
        "first time",
    ],
    "ONCE": ["once"],
    # How much may be spent.
    "LIMIT": [
        "max|maximum|limit|limited|limits|limiting|cap|caps|capped|capping|budget|latest",
        "up to",
        "upper limit|bound of|on?",
        "no|not longer|later than",
        "time|training|compute|run|runtime limit|budget|cap",
        "wall clock time? limit|budget|cap",
        "max|maximum|total training|run|wall|compute|clock time|runtime|duration|length",
        "training|run time|runtime|duration limit|budget|cap",
        "max|maximum|total time|runtime|duration",
        "max|maximum|total number|amount of",
        f"{_NOT} train|run|go|continue|last|take on? for? more|longer than",
        f"{_NOT} train|run|go|continue on? for? beyond|past|over",
        f"{_NOT} exceed|exceeding",
        f"{_NOT} be|take|last for? more|longer than",
        f"{_NOT} let it|training run|go|take on? for? more|longer than",
    ],
    "TAKES": ["take|takes|took|taking|taken|last|lasts|lasted|runs|ran"],
    "PASSED": [
        "passed|pass|elapsed|elapse|done|complete|completed|finished",
        "gone by",
    ],
    "AFTER": ["after|following"],
    "filler": ["avoid~ the|any|my? model|models|more|further? over? overfitting|overfit|overfits|fitting|fit"],
    # How ideas are joined.
    "IF": ["if|when|whenever|upon|where|case"],
    "IF:until": ["until|till", "wait until|till"],
    "AND": ["and|&", "as well as"],
    "OR": [
        "or|plus|additionally|furthermore|moreover|also",
        "and|& also",
        "and|& then|to? also? stop|halt|end|abort|terminate|quit|finish",
        "and / or",
        "or also|else",
    ],
    "BUT": ["but|so|however|otherwise|yet"],
    "HOLD": [
        "while|whilst|unless|except|provided|although|though|before|simultaneously|despite|given",
        "as|so long as",
        "even though|if",
        "together|combined|along with",
        "at the same time",
        "not if|when|before|until|till|after",
        "only after|before",
        "start|starting|begin|beginning with|at|from|in",
    ],
    "ALL": [
        "whichever|whatever of? these|those|them|the? two|both|one? is|comes|happens|occurs|ends|falls|takes|lasts? the? last|later|latest|longer|longest|larger|largest|greater|greatest|"
        "higher|highest|bigger|biggest|more|most|second",
        "the? later|latter|longer|larger|greater|higher|bigger of",
        "the maximum|max of",
        "max(|maximum(",
    ],
    "EVERY": ["every|each|per"],
    "STOP": [
        "before stopping|ending|halting",
        "give|giving up",
        "stop|stopping|halt~|end|ends|ending|terminate~|quit|abort~|finish|finishes|cancel|kill|interrupt|exit",
    ],
    "TRAIN": [
        "train|training|trains|run|tuning|finetune|finetuning",
        "fine tune|tuning",
        "keep|continue going|training|running",
    ],
    "BY": ["by"],
    "EQUALS": ["=|equals|equal|==", "equal|set to"],
    "IN": ["in|on|of|for|across|during|through|throughout|within|at|with|using|between|via|wrt"],
    "ACTION": [
        "email|mail|message|ping|tell|alert|warn|inform|send|call",
        "save|saving|restore|log|report|notify|load|revert|roll|go|return|export|record|write|evaluate|generate|print",
    ],
    # Settings.
    "EARLY_STOPPING": ["early stopping|stop", "earlystopping|earlystoppingcallback"],
    "KEEP_BEST": [
        f"keep~|kept|save~|saving|restore~|use|using|pick~|select~|choose|choosing|load~|return~|retain~|export~|take|retaining only? the? only? best {_BEST} by|on? validation|val? loss?",
        f"the? best {_BEST} only? is? kept|saved|restored|used|selected|loaded",
        "keep|keeping|save|restore|load|use the? best",
        "revert|roll|go|return|rollback back? to the best model|checkpoint|weights|one|version|epoch|state",
        "keep|save|use|pick|select|choose|load|restore the? checkpoint|model|weights|version|epoch with|at|of|having the lowest|best|"
        "smallest|minimum validation|val|eval loss",
        "best checkpoint",
    ],
    "WEIGHT_DECAY": [
        "weight|weights decay with? a? rate|coefficient|value|strength|parameter|factor?",
        "wd|weightdecay",
        "l2 regularization|regularisation|penalty|reg|norm? with|using|via? weight decay",
        "l2 regularization|regularisation|penalty|reg|norm? with? a? strength|weight|coefficient|factor?",
    ],
    "DROPOUT": [
        "dropout|dropouts rate|rates|probability|layers|layer|ratio|regularization|regularisation|p|value?",
        "drop out rate",
    ],
    "LABEL_SMOOTHING": [
        "label|labels smoothing factor|epsilon|value?",
        "labelsmoothing",
        "smooth|smoothing|smoothed labels|label",
    ],
    "NOISE_ALPHA": [
        "neftune|neft noise|noisy? with|of|using? an? noise? alpha|embedding|embeddings|level|strength|scale?",
        "noise|noisy embedding|embeddings? alpha",
        "embedding|embeddings noise alpha?",
        "noise on|in|to the? embedding|embeddings with|of? alpha?",
        "noisy embeddings",
    ],
    "MAX_GRAD_NORM": [
        "gradient|gradients|grad|grads norm|value? clipping|clip|clipped norm|value|threshold|max?",
        "clip|clips|clipped|clipping the|all? gradient|gradients|grad|grads norm|norms?",
        "clip|clipping the? norm|norms of the? gradient|gradients",
        "max|maximum|maximal gradient|grad norm",
        "limit|limiting|cap|capping|bound the? gradient|gradients|grad norm|norms?",
        "clip|clipping",
    ],
    "LEARNING_RATE": ["learning rate|rates value?", "lr|learningrate"],
    "LORA": ["lora adapter|adapters?", "low rank adaptation|adapters|adapter"],
    "RANK": ["rank|ranks"],
    "R": ["r"],
    "FULL": [
        "full fine tuning|tune",
        "full finetuning|finetune",
        "full parameter|weight|model fine? tuning|finetuning|training",
        "train|training|tune|tuning|update|updating all the|of|model? the? weights|parameters|layers",
    ],
    "HOLD_OUT": [
        "hold|holding|held|set|put|leave|left|keep out|aside|apart|back",
        "reserve|reserved|reserving|withhold|withheld",
        "split|splits|splitting off?",
    ],
    "VALIDATION_SHARE": [
        f"{_VAL} split|fraction|share|ratio|percentage|portion|size|proportion {_SET}?",
        f"{_VAL} {_SET}|subset",
        f"held|hold out {_SET}|fraction|share",
        "held|hold out",
        "holdout|heldout",
    ],
    "DATA": ["my|our|all|the|training? data|dataset|examples|rows"],
    # Quality.
    "CHRF": ["chrf +? +? score|scores?"],
    "ROUGE_L": ["rouge score|scores?", "rouge l|lsum score|scores?", "rougel|rougelsum score|scores?"],
    "EXACT_MATCH": [
        "exact|exactly match|matches|matching|matched rate|accuracy|score|scores?",
        "em score?",
        "exact string match|matches",
    ],
    "JUDGE": [
        f"{_JUDGE} as|acting as? a|the? judge|judges|grader|evaluator|rater",
        f"{_JUDGE} to? judge|judges|judging|judgement|judgment|grader|graders|evaluator|evaluators",
        f"{_JUDGE} based|graded|judged|rated|scored|assisted evaluation|grading|judging|scoring|ratings|assessment?",
        f"judge|judged|judging|grade|graded|rate|rated|score|scored|evaluate|evaluated|assess|assessed by|with|using a|an? {_STRONGER}? language? {_JUDGE}",
        f"{_STRONGER} language? llm|model|ai judge|judges|rate|rates|score|scores|grade|grades|evaluate|evaluates|assess",
        "gpt|gpt-4|gpt-5|gpt-4o|gpt4|gpt4o|claude|chatgpt|gemini|llm|llms to? rate|rates|score|scores|grade|grades|evaluate|evaluates",
        "judge model|llm?",
        "as a? judge",
    ],
    "BASE": [
        "base|original|untuned|pretrained|unmodified|baseline|starting|initial|stock|vanilla model|models|version|llm|checkpoint|one|responses|answers|outputs?",
        "pre trained model|version?",
        "un|non tuned model?",
        "model before fine? tuning|training|finetuning",
    ],
    "COMPARE": [
        "compare~|comparison|comparisons|versus|vs|benchmark~|contrast~|outperform~|against|beat|beats",
        "side by side",
        "a / b test|tests|testing|comparison?",
        "ab test|tests|testing",
        "win rate|rates",
        "better|worse|different|differ than|from",
        "relative|next to",
    ],
    "BEFORE_AFTER": ["before and|/|vs|versus after fine? tuning|training|finetuning?"],
    "TUNED": ["fine tuned model|models|version|one?", "finetuned|tuned model|models|version|one?"],
    "HUMAN": [
        "manual|manually|human|humans|people|person|myself|expert|experts|annotator|annotators|reviewer|reviewers|colleague|colleagues",
        "by hand|eye",
        "spot check|checks|checking",
        "eyeball|eyeballing",
    ],
    "READ": [
        "read|reads|reading|review|reviews|reviewing|reviewed|inspect|inspecting|inspection|inspected|skim|examine|examining",
        "look|looking at|over|through",
        "go|going through|over",
    ],
    "RATE": [
        "evaluate~|evaluation|assess~|assessment|rate|rated|rating|ratings|score|scored|scoring|check~|grade~|verify|verifying|sample|sampling"
    ],
    "ANSWERS": [
        f"{_ANSWER}|samples|predictions|examples|results|texts|them|cases|pairs|sampled? generated? {_ANSWER}|samples?"
    ],
    "LENGTH": [
        "length|lengths|verbosity check|checks|distribution|distributions|statistics|control?",
        f"{_ANSWER} length|lengths distribution|distributions|check|checks|statistics|control",
        "not be? too long|short|verbose",
        "too long|short|verbose",
        "how long|short|verbose",
    ],
}

# Words that carry nothing here. A piece of text that is made of nothing else is still reported as not understood.
FILLER = words_of(
    """
    a an the is are was were be been being am has have had do does did having there here these those this that they
    we i you he she our my your us me please just then will would should shall can could may might must want wants
    like need needs let lets let's i'll we'll i'd we'd it's its that's there's i'm we're make sure again still ever
    already any further more simply automatically model network value values currently overall which
    criterion criteria condition conditions rule rules trigger triggers triggered strategy approach
    first earlier sooner comes happens come happen occurs whichever whatever either early
    see seen observed found noticed begins begin beginning began starts start starting started keeps keep continues
    continue continued becomes become becoming goes going went even hard relative gets get getting shows show fully total number
    apply applying applied add adding added enable enabled include including use uses using anymore used set setting settings
    approximately roughly nearly about around ca point wall clock too performance as new only just low small average mean median another
    overfitting overfit prevent preventing prevention regularization regularisation regularize regularise
    process job session both always random randomly compute computing calculate calculating track tracking help helps instance e.g eg i.e ie sign signs guard keep consistently continuously subsequently
    """
)

# Words that blur a measure. They bind nothing, so a rule is read without them, and they are reported.
VAGUE = words_of("real measurable significant noticeable clear meaningful substantial visible much considerable")
