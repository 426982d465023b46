import pytest

from lib.captions.tokenizer import tokenize


@pytest.mark.parametrize(
    'caption, tokens',
    [
        ("A man's dog -- it runs, fast!", ['a', 'mans', 'dog', 'it', 'runs', 'fast']),
        ('A man’s dog…', ['a', 'mans', 'dog']),
        ('a man´s “t‑shirt”', ['a', 'mans', 'tshirt']),
        ('a dog — running', ['a', 'dog', 'running']),
        ('a dog—running', ['a', 'dog', 'running']),
        ('एक कुत्ता दौड़ रहा है।', ['एक', 'कुत्ता', 'दौड़', 'रहा', 'है']),
        ('كلب يركض، وطفل؟', ['كلب', 'يركض', 'وطفل']),
        ('می\u200cروم', ['می\u200cروم']),
        ('¿un perro corre?', ['un', 'perro', 'corre']),
        ('un chien «\xa0noir\xa0»', ['un', 'chien', 'noir']),
        ('cafe\u0301 noir', ['caf\xe9', 'noir']),
        ('a\u200bdog runs\ufeff', ['a', 'dog', 'runs']),
        ('5 € + 3 $', ['5', '€', '3']),
    ],
)
def test_words_are_split_as_in_karpathys_data_in_any_script(caption, tokens):
    assert tokenize(caption, 'words') == tokens


def test_characters_exclude_white_space_and_punctuation():
    assert tokenize('犬が、走る。 OK', 'characters') == ['犬', 'が', '走', 'る', 'o', 'k']
    assert tokenize('か\u3099', 'characters') == ['が']
