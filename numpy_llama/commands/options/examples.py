"""The examples at the end of each help: at least two for every command. A test parses them."""

EXAMPLES = {
    "generate": """
llama-np generate "Once upon a time" -n 64
llama-np generate --chat "Summarise in one sentence:" < notes.txt
llama-np generate -f prompt.txt --temp 0.8 --top-p 0.95 --seed 1 --stop END
""",
    "chat": """
llama-np chat
llama-np chat -s "You are a llama. Be brief." --temp 0.7
""",
    "batch": """
llama-np batch prompts.jsonl -o answers.jsonl -n 40
llama-np batch texts.jsonl -o scores.jsonl --task score --jobs 2
""",
    "logits": """
llama-np logits "The capital of France is" --top 5
llama-np logits --tokens 1,2,3 --dtype float64 --all -o logits.npy
""",
    "score": """
llama-np score "Llamas hum."
llama-np score -f book.txt --json > book.json
""",
    "tokenize": """
llama-np tokenize "Llamas hum."
llama-np tokenize --json < notes.txt
""",
    "trace": """
llama-np trace "The capital of France is" -o trace.html --open
llama-np trace -m mine --layers 0,15,29 --last 16 -n 4 < prompt.txt
""",
    "learn start": """
llama-np learn start my-llama
llama-np learn start ~/course/anna
""",
    "learn check": """
llama-np learn check my-llama
llama-np learn check my-llama --stage rope --hint 2
llama-np learn check course/anna course/ben --json > class.json
""",
    "learn progress": """
llama-np learn progress my-llama
llama-np learn progress course/anna course/ben
""",
    "learn solution": """
llama-np learn solution norm
llama-np learn solution rope > my-llama/rope.py
""",
    "info": """
llama-np info smollm2-135m
llama-np info model.gguf --check --json
""",
    "convert": """
llama-np convert model.gguf -o weights/mine
llama-np convert meta/ -o weights/llama --dtype bf16 --shard-size 2
""",
    "pull": """
llama-np pull smollm2-135m
llama-np pull HuggingFaceTB/SmolLM2-135M
""",
    "models": """
llama-np models
llama-np models --remove smollm2-135m
""",
    "golden record": """
llama-np golden record -p "Once upon a time" -o once
llama-np golden record --tokens 1,2,3 --decode 8 --taps logits -o three
""",
    "golden show": """
llama-np golden show once
llama-np golden show once --json
""",
    "golden export": """
llama-np golden export once --to c -o once.h
llama-np golden export once --to hex --word Q7.8 --taps "layers.0.*" -o words
""",
    "golden check": """
llama-np golden check once DUMP
llama-np golden check once logits.npy --dtype bfloat16 --html report.html
""",
    "golden diff": """
llama-np golden diff theirs.npz mine.npz
llama-np golden diff A B -m MODEL --names-a llama.cpp --json
""",
    "golden kit": """
llama-np golden kit -o kit
llama-np golden kit --coverage
""",
    "golden run": """
llama-np golden run --kit kit --command './mine {model} {tokens} {out}'
llama-np golden run --kit kit --format gguf --junit kit.xml --command './mine {model} {out}'
""",
    "golden header": """
llama-np golden header
llama-np golden header -o llama_tap.h
""",
}
