from lib.captions.tokenizer import tokenize


def test_words_are_split_as_in_karpathys_data():
    tokens = tokenize("A man's dog -- it runs, fast!", 'words')
    assert tokens == ['a', 'mans', 'dog', 'it', 'runs', 'fast']


def test_characters_exclude_white_space_and_punctuation():
    assert tokenize('犬が、走る。 OK', 'characters') == ['犬', 'が', '走', 'る', 'o', 'k']
