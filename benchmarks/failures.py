"""How captions fail: what they say that no person says, and what they leave out.

    python -m benchmarks.failures -s captions.h5 --split val results.json

Prints Markdown tables about English captions in COCO's results format, such as evaluate.py --json
writes. docs/failures.md explains them.
"""

from collections import Counter
from itertools import chain, product

import numpy

from benchmarks.word_classes import WORD_CLASSES, Comparison, compare, compare_people
from lib.captions.dataset import CaptionDataset
from lib.captions.readers import SPLITS
from lib.captions.tokenizer import tokenize
from lib.cli.parser import ArgumentParser
from lib.cli.run import print_line, run_main
from lib.errors import InputError
from lib.evaluation.metrics import CaptionScorer, has_java
from lib.evaluation.results_file import read_results

# Rows of the tables, and words of a phrase.
N_EXAMPLES, N_PHRASES, N_FREQUENT, N_CONFUSIONS, PHRASE_LENGTH = 5, 10, 10, 5, 4
WORD_COLUMNS = ['', 'said', 'by no person', 'people agree', 'left out']


def parse_args():
    parser = ArgumentParser(__doc__.splitlines()[0])
    parser.add_argument('results', help='captions, as evaluate.py --json writes them')
    parser.add_argument('-s', '--captions', required=True, metavar='FILE', help='captions.h5')
    parser.add_argument('--split', default='val', choices=SPLITS, help='images of the captions')
    return parser.parse_args()


def main():
    args = parse_args()
    dataset = CaptionDataset.load(args.captions)
    images = dataset.images_of(args.split)
    if not images.size:
        raise InputError(f'{args.captions}: has no captions in the split "{args.split}"')
    if dataset.vocabulary.tokenizer != 'words':
        raise InputError(f'{args.captions}: is not split into words; only English can be compared')
    texts = read_results(args.results, dataset.ids_of(images))
    references = dataset.references_of(images)
    scores = CaptionScorer(references, has_java())(texts)
    cider = scores.means['CIDEr']
    print_examples(dataset.filename[images], texts, references, cider)

    captions = [tokenize(text, 'words') for text in texts]
    references = [[tokenize(text, 'words') for text in of_image] for of_image in references]
    print_phrases(captions, [*chain.from_iterable(references)])
    comparisons = {
        name: [compare(*pair, words) for pair in zip(captions, references)]
        for name, words in WORD_CLASSES.items()
    }
    human = {name: compare_people(references, words) for name, words in WORD_CLASSES.items()}
    print_classes(comparisons, human)
    print_each_word(comparisons)
    print_confusions(comparisons)
    print_cider(comparisons, captions, cider)


def print_examples(filenames, texts, references, cider):
    order = numpy.argsort(-cider, kind='stable')
    middle = max(0, (len(order) - N_EXAMPLES) // 2)
    for title, start in ('Best', 0), ('Median', middle), ('Worst', -N_EXAMPLES):
        rows = [
            [f'{cider[image]:.2f}', filenames[image], texts[image], references[image][0]]
            for image in order[start:][:N_EXAMPLES]
        ]
        print_table(f'{title} captions', ['CIDEr', 'image', 'caption', 'a person'], rows)


def print_phrases(captions, human):
    counts, human_counts = (
        Counter(chain.from_iterable(map(phrases, texts))) for texts in (captions, human)
    )
    excess = {
        phrase: n / len(captions) - human_counts[phrase] / len(human)
        for phrase, n in counts.items()
    }
    rows = [
        [
            ' '.join(phrase),
            percent(counts[phrase], len(captions)),
            percent(human_counts[phrase], len(human)),
        ]
        for phrase in sorted(excess, key=lambda phrase: (-excess[phrase], phrase))[:N_PHRASES]
    ]
    print_table('Favorite phrases', ['', 'captions', "people's captions"], rows)
    frequent = Counter(map(tuple, captions)).most_common(N_FREQUENT)
    rows = [[' '.join(caption), n] for caption, n in frequent]
    rows += [['together', percent(sum(n for _, n in frequent), len(captions))]]
    print_table('Most frequent captions', ['', 'images'], rows)


def phrases(tokens):
    return {*zip(*(tokens[start:] for start in range(PHRASE_LENGTH)))}


def print_classes(comparisons, human):
    rows = [
        [name, *shares(of_class), sum(len(each.said) for each in of_class if not each.named)]
        for name, of_class in comparisons.items()
    ]
    print_table('Words by class', [*WORD_COLUMNS, 'said where no person uses the class'], rows)
    rows = [[name, *shares(of_class)] for name, of_class in human.items()]
    print_table('The same of people, each against the others', WORD_COLUMNS, rows)
    counts = count_wrong(comparisons), count_wrong(human)
    row = [percent((n_wrong > 0).sum(), len(n_wrong)) for n_wrong in counts]
    print_table('With a word that no person uses', ['captions', "people's captions"], [row])


def print_each_word(comparisons):
    rows = []
    for name, of_class in comparisons.items():
        for word in dict.fromkeys(WORD_CLASSES[name].values()):
            of_word = [Comparison(*({word} & words for words in each)) for each in of_class]
            rows.append([word, *shares(of_word)])
    print_table('Word by word', WORD_COLUMNS, rows)


def print_confusions(comparisons):
    rows = []
    for name, of_class in comparisons.items():
        pairs = Counter(pair for each in of_class for pair in product(each.wrong, each.missed))
        ordered = sorted(pairs.items(), key=lambda item: (-item[1], item[0]))
        rows += [[name, *pair, n] for pair, n in ordered[:N_CONFUSIONS]]
    print_table('Confusions', ['', 'the caption says', 'people agree on', 'images'], rows)


def print_cider(comparisons, captions, cider):
    groups = {}
    for name, of_class in comparisons.items():
        said = numpy.array([bool(each.said) for each in of_class])
        wrong = numpy.array([bool(each.wrong) for each in of_class])
        groups[f'{name}: none'] = ~said
        groups[f'{name}: one that no person uses'] = wrong
        groups[f'{name}: only others'] = said & ~wrong
    for name, numbers in (
        ('words that no person uses', count_wrong(comparisons)),
        ('words', numpy.array([*map(len, captions)])),
    ):
        groups |= {f'{name}: {number}': numbers == number for number in numpy.unique(numbers)}
    rows = [
        [name, chosen.sum(), f'{cider[chosen].mean():.3f}']
        for name, chosen in groups.items()
        if chosen.any()
    ]
    print_table('Mean CIDEr', ['captions by', 'images', 'CIDEr'], rows)


def shares(comparisons):
    """Returns how many words are said, the share of wrong ones, how many agreed, and missed."""
    said, wrong, agreed, missed = (
        sum(len(getattr(each, name)) for each in comparisons)
        for name in ('said', 'wrong', 'agreed', 'missed')
    )
    return [said, percent(wrong, said), agreed, percent(missed, agreed)]


def count_wrong(comparisons):
    """Returns how many words, of all classes together, of each caption no person uses."""
    return sum(
        numpy.array([len(each.wrong) for each in of_class]) for of_class in comparisons.values()
    )


def percent(part, whole):
    return f'{100 * part / whole:.1f} %' if whole else ''


def print_table(title, header, rows):
    print_line(f'## {title}')
    print_line('')
    for row in header, ['---'] * len(header), *rows:
        cells = (str(cell).replace('|', r'\|') for cell in row)
        print_line(f'| {" | ".join(cells)} |')
    print_line('')


if __name__ == '__main__':
    run_main(main)
