import pytest

from lib.captions.lists import is_list_of_images, parse_list

# Lists of one caption, "A dog, here", of the image a.jpg.
LISTS = {
    'tabs': 'a.jpg#0\tA dog, here\n\n',
    'a header': 'image\tcaption\na.jpg\tA dog, here\n',
    'a header in another language': 'Bild\tBeschreibung\na.jpg\tA dog, here\n',
    'reversed': 'A dog, here\ta.jpg\n',
    'reversed, with a header': 'caption,image\n"A dog, here",a.jpg\n',
    'commas': 'image,caption\na.jpg,"A dog, here"\n',
    'commas that are not quoted': 'image,caption\na.jpg,A dog, here\n',
    'commas without a header': 'a.jpg,A dog, here\n',
    'semicolons': 'file;text\na.jpg;A dog, here\n',
    'semicolons, and commas in captions': 'a.jpg;A dog, here\n',
    'headings of several words': 'Image Name\tCaption Text\na.jpg\tA dog, here\n',
    'quotation marks around all': '"image"\t"caption"\n"a.jpg"\t"A dog, here"\n',
    'a line for Excel': 'sep=;\nimage;caption\na.jpg;A dog, here\n',
    'an address in another column': 'image,caption,url\na.jpg,"A dog, here",http://x.org/a.jpg\n',
    'another text': 'image,text,caption\na.jpg,SIGN 1234567890 AND MORE,"A dog, here"\n',
    'spaces around': ' a.jpg \t A dog, here \r\n',
    "Flickr30k's results.csv": 'image_name| comment_number| comment\na.jpg| 0| A dog, here\n',
    'a separator missing': 'image_name| comment_number| comment\na.jpg| 4   A dog, here\n',
    'more columns': 'raw,sentids,split,filename\n"[""A dog, here""]",[0],train,a.jpg\n',
    'an index, as pandas writes it': ',image,caption\n0,a.jpg,"A dog, here"\n',
}


@pytest.mark.parametrize('text', LISTS.values(), ids=LISTS)
def test_reads_lists_of_every_kind(text):
    ((image, caption, split),) = parse_list(text)
    assert (image, caption) == ('a.jpg', 'A dog, here')
    assert split == ('train' if 'split' in text else None)


@pytest.mark.parametrize(
    'text, captions',
    [
        ('1\tdog\n2\tcat\n', [('1', 'dog'), ('2', 'cat')]),
        ('A dog\t17\ncat\t5\n', [('17', 'A dog'), ('5', 'cat')]),
        ('caption,img\nA dog,17\n', [('17', 'A dog')]),
        ('id,image_id,caption\n1,17,A dog\n2,17,cat\n', [('17', 'A dog'), ('17', 'cat')]),
        ('file_name,caption_0,caption_1\na.jpg,A,B\n', [('a.jpg', 'A'), ('a.jpg', 'B')]),
        ('id\tsentence\n1\tdog\n', [('1', 'dog')]),
        ('a.jpg\tA "dog"\na.jpg\t"Cat\n', [('a.jpg', 'A "dog"'), ('a.jpg', '"Cat')]),
        ('image,caption\na.jpg,"A ""big"" dog"\n', [('a.jpg', 'A "big" dog')]),
        ('image,caption\n"a.jpg","A dog\nruns"\n', [('a.jpg', 'A dog\nruns')]),
        ('caption,image\n"[""A"", ""B""]",a.jpg\n', [('a.jpg', 'A'), ('a.jpg', 'B')]),
        ("image,caption\na.jpg,\"['A', 'B']\"\n", [('a.jpg', 'A'), ('a.jpg', 'B')]),
        ('\n \n', []),
        ('image,caption\n', []),
    ],
)
def test_all_captions_are_read(text, captions):
    assert [(image, caption) for image, caption, _ in parse_list(text)] == captions


@pytest.mark.parametrize(
    'text, message',
    [
        ('a.jpg A dog\n', 'line 1: no tab between image and caption'),
        ('a.jpg A dog, running\n', 'line 1: no tab between image and caption'),
        ('a.jpg\tA dog\n\n2 dogs\n', 'line 3: no tab between image and caption'),
        ('image,caption\na.jpg,A dog\nb.jpg\n', 'line 3: no comma between image and caption'),
        ('A dog\thttps://example.org/a?b=c\n', 'line 1: the image is an address; download'),
        ('a.jpg|0|A dog\n', 'more than two columns; add a first line of headings'),
        ('a.jpg\tA dog\ttrain\n', 'more than two columns'),
        ('a.jpg,0,dog\na.jpg,1,cat\nb.jpg,0,men\n', 'more than two columns'),
        ('a,b,c\n1.jpg,x,y\n', 'unclear which column has the captions'),
        ('a,caption,c\nx,dog,y\n', 'unclear which column has the images'),
        ('image,caption\na.jpg,"A dog\nb.jpg,A cat\n', 'line 3: unexpected end'),
    ],
)
def test_lines_that_cannot_be_read_are_named(text, message):
    with pytest.raises(ValueError, match=message):
        [*parse_list(text)]


def test_lists_of_images_have_one_name_on_each_line():
    assert is_list_of_images('a.jpg\nb.jpg\r\n\n')
    assert not is_list_of_images('a.jpg\nb.jpg A dog\n')
    assert not is_list_of_images('a.jpg,dog\n')
    assert not is_list_of_images('\n')
    assert is_list_of_images('my 1.jpg\nmy 2.jpg\n')
